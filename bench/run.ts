/** `npm run bench -- NAME [OPTIONS]`: runs the benchmark `bench/NAME.ts`, or says which there are. */

import { readdir } from 'node:fs/promises'

/** Files that are no benchmarks. */
const parts: ReadonlySet<string> = new Set(['run', 'measure', 'plain-file'])

const files = await readdir(new URL('.', import.meta.url))
const names = files
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.slice(0, -'.ts'.length))
  .filter((name) => !parts.has(name))
  .toSorted()
const [name = ''] = process.argv.splice(2, 1)
if (names.includes(name)) {
  await import(new URL(`${name}.ts`, import.meta.url).href)
} else {
  console.error(`npm run bench -- NAME, with NAME one of: ${names.join(', ')}`)
  process.exitCode = 2
}
