/** Programs of ours as few files of plain JavaScript, as the build makes the command, for processes that are started
 *  often or traced: they start in a third of the time, and what runs is what the sources say now. */

import { copyFile, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { takenIn } from '../../rolldown.config.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Gives modules of CommonJS that are taken in the `require` that they ask Node's own modules with. */
const banner = `import { createRequire as createRequire_ } from 'node:module'
const require = createRequire_(import.meta.url)`

export type Bundles<Name extends string> = AsyncDisposable & {
  readonly files: Readonly<Record<Name, string>>
}

/** `entries`: names, and files of the project; they share modules. It is laid out as the package is, which finds itself
 *  by its package.json. */
export async function bundle<Name extends string>(
  entries: Readonly<Record<Name, string>>,
): Promise<Bundles<Name>> {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-bundle-'))
  const outdir = join(directory, 'dist', 'cli')
  await mkdir(outdir, { recursive: true })
  await copyFile(join(root, 'package.json'), join(directory, 'package.json'))
  await symlink(join(root, 'node_modules'), join(directory, 'node_modules'))
  const names = Object.keys(entries) as Name[]
  await build({
    entryPoints: names.map((name) => ({ in: join(root, entries[name]), out: name })),
    outdir,
    bundle: true,
    splitting: true, // what is imported when it is used is loaded then
    platform: 'node',
    format: 'esm',
    target: 'node20',
    external: await packagesLeft(),
    banner: { js: banner },
    logLevel: 'silent',
  })
  const files = Object.fromEntries(names.map((name) => [name, join(outdir, `${name}.js`)]))
  return {
    files: files as Record<Name, string>,
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  }
}

/** Returns the packages that are loaded from their files, with all that is in them. */
async function packagesLeft(): Promise<string[]> {
  const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  const { dependencies, devDependencies, optionalDependencies } = manifest
  const names = Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies })
  return names.filter((name) => !takenIn.includes(name)).flatMap((name) => [name, `${name}/*`])
}
