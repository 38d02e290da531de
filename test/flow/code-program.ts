/** Prints the code of each function that a module exports, as JSON by its name; of one that has none,
 *  the error. Its argument is the path of the module. */

import { pathToFileURL } from 'node:url'
import { toTailraceError } from '../../src/error.js'
import { CodeReader } from '../../src/flow/code.js'

const exported: Record<string, unknown> = await import(pathToFileURL(process.argv[2] ?? '').href)
const reader = new CodeReader()
const codes: Record<string, unknown> = {}
for (const [name, fn] of Object.entries({ ...Object(exported['default']), ...exported })) {
  if (typeof fn !== 'function') continue
  codes[name] = await reader.codeOf(fn as () => unknown).catch((error: unknown) => {
    const { code, message } = toTailraceError(error)
    return { code, message }
  })
}
process.stdout.write(JSON.stringify(codes))
