/** Where this program is installed: the files of its processes, and its version. */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

// The built command lies in dist/cli, beside dist/local. A file that runs from source starts that, too.
const built = import.meta.url.endsWith('.ts') ? '../../dist/cli/' : '../cli/'

export const mainFile = fileURLToPath(new URL(`${built}main.js`, import.meta.url))
export const keeperFile = fileURLToPath(new URL(`${built}keeper.js`, import.meta.url))

/** This program's version, out of its package. */
export function programVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  const parsed: unknown = JSON.parse(text)
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed
    ? String(parsed.version)
    : 'unknown'
}
