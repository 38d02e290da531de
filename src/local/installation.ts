/** The installation of this program: the files of its processes, and its version. */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

// The built command is in dist/cli, beside dist/local. A program that runs from source starts it
// too.
const built = import.meta.url.endsWith('.ts') ? '../../dist/cli/' : '../cli/'

/** The path of the command `tailrace`. */
export const mainFile = fileURLToPath(new URL(`${built}main.js`, import.meta.url))
/** The path of the keeper of `lease run`. */
export const keeperFile = fileURLToPath(new URL(`${built}keeper.js`, import.meta.url))

/** Reads the oldest major version of Node that runs this program from its package. */
export function oldestNode(): number {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  const { engines }: { readonly engines: { readonly node: string } } = JSON.parse(text)
  return Number(/\d+/.exec(engines.node)?.[0])
}

/** Reads the version of this program from its package. */
export function programVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  const parsed: unknown = JSON.parse(text)
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed
    ? String(parsed.version)
    : 'unknown'
}
