/** A process that opens a store, prints `open` or `CODE MESSAGE`, and closes it when its stdin ends. */

import { text } from 'node:stream/consumers'
import { systemEnvironment } from '../../src/base/environment.js'
import { openLocal } from '../../src/engine/local-open.js'
import { toTailraceError } from '../../src/error.js'

const [directory = ''] = process.argv.slice(2)
try {
  await using _ = await openLocal(directory, { environment: systemEnvironment })
  process.stdout.write('open\n')
  await text(process.stdin)
} catch (error) {
  const { code, message } = toTailraceError(error)
  process.stdout.write(`${code} ${message}\n`)
}
