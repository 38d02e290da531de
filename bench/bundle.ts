/** The program of the workers, as one file of JavaScript. A run of all starts two hundred of them:
 *  append-rate with seven systems takes 7.3 s of CPU, and 11.3 s under the loader of TypeScript. */

import { fileURLToPath } from 'node:url'

/** Builds the file, and gives its path. It stands in the repository, whose packages it imports. */
export async function bundleWorker(): Promise<string> {
  const outfile = fileURLToPath(new URL('../.bench/worker.mjs', import.meta.url))
  const { build } = await import('esbuild') // a worker, which has this file too, needs none of it
  await build({
    entryPoints: [fileURLToPath(new URL('worker.ts', import.meta.url))],
    outfile,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
  })
  return outfile
}
