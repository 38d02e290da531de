/** Finds what `bench/peers.sh` fetched: programs of Debian and packages of npm, in a folder of their
 *  own. */

import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

/** The folder, which `TAILRACE_BENCH_PEERS` names; `.peers` of the repository unless it is set. */
export const peersDirectory = resolve(
  process.env['TAILRACE_BENCH_PEERS'] || fileURLToPath(new URL('../../.peers', import.meta.url)),
)

/** The list that peers.sh writes: a name, a tab, and its version or `missing: ` and the reason. */
export function found(name: string): { readonly version: string } | { readonly missing: string } {
  let list = ''
  try {
    list = readFileSync(join(peersDirectory, 'found.tsv'), 'utf8')
  } catch {
    return { missing: 'not fetched: run bench/peers.sh' }
  }
  for (const line of list.split('\n')) {
    const [known, text = ''] = line.split('\t')
    if (known !== name) continue
    return text.startsWith('missing: ') ? { missing: text.slice(9) } : { version: text }
  }
  return { missing: 'not fetched: run bench/peers.sh' }
}

/** The path of a program that was fetched. */
export function program(name: string): string {
  return join(peersDirectory, 'bin', name)
}

/** Imports a package that was fetched; each caller says which part of it it uses. */
export async function fetchedPackage(name: string): Promise<unknown> {
  const file = pathToFileURL(join(peersDirectory, 'load.mjs')).href
  const { load }: { load: (name: string) => Promise<unknown> } = await import(file)
  return load(name)
}
