/** Programs of benchmarks as files of JavaScript. The program of the workers is one file. A run of all starts two hundred of them:
 *  append-rate with seven systems takes 7.3 s of CPU, and 11.3 s under the loader of TypeScript. */

import { writeFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Builds a file of this directory, such as `worker`, and gives the path. It stands in the repository,
 *  whose packages it imports. */
export async function bundleProgram(name: string): Promise<string> {
  const outfile = fileURLToPath(new URL(`../.bench/${basename(name)}.mjs`, import.meta.url))
  const { build } = await import('esbuild') // a worker, which has this file too, needs none of it
  await build({
    entryPoints: [fileURLToPath(new URL(`${name}.ts`, import.meta.url))],
    outfile,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
  })
  return outfile
}

/** The files of the package that programs of a project import, by their names there. */
const packageEntries = {
  flow: 'src/flow/flow.ts',
  open: 'src/open.ts',
  worker: 'src/worker/worker.ts',
  program: 'src/worker/program.ts',
  guard: 'src/worker/guard.ts',
} as const

/** Builds a project that has the package in its node_modules, as users have it: its version counts, and not its
 *  files. Returns the paths of its programs by their names. `entries`: names, and files of this directory. */
export async function bundleProject<Name extends string>(
  entries: Readonly<Record<Name, string>>,
): Promise<Readonly<Record<Name, string>>> {
  const root = fileURLToPath(new URL('..', import.meta.url))
  const outdir = `${root}.bench/project/`
  const inPackage = `${outdir}node_modules/tailrace/`
  const { build } = await import('esbuild')
  const common = {
    bundle: true,
    splitting: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
  } as const
  await build({
    entryPoints: Object.entries(packageEntries).map(([out, path]) => ({ in: root + path, out })),
    ...{ ...common, outdir: inPackage, packages: 'external' },
  })
  const exported = Object.keys(packageEntries).map((name) => [`./${name}`, `./${name}.js`])
  const manifest = { name: 'tailrace', version: '1.0.0', type: 'module' }
  const exports = Object.fromEntries(exported)
  await writeFile(`${inPackage}package.json`, JSON.stringify({ ...manifest, exports }))
  await writeFile(`${outdir}package.json`, JSON.stringify({ name: 'project', type: 'module' }))
  const names = Object.keys(entries) as Name[]
  // By the name of its file, since a process imports a path once, whichever benchmark wrote it.
  const programOf = (name: Name) => entries[name].replace(/\.ts$/, '')
  await build({
    entryPoints: names.map((name) => ({
      in: `${root}bench/${entries[name]}`,
      out: programOf(name),
    })),
    ...{ ...common, outdir },
    plugins: [
      {
        name: 'the package by its name',
        setup: ({ onResolve }) => {
          onResolve({ filter: /^\.\.\/src\/.*\b(flow|open|worker)\.js$/ }, ({ path }) => ({
            path: `tailrace/${path.slice(path.lastIndexOf('/') + 1, -'.js'.length)}`,
            external: true,
          }))
        },
      },
    ],
  })
  return Object.fromEntries(
    names.map((name) => [name, `${outdir}${programOf(name)}.js`]),
  ) as Record<Name, string>
}
