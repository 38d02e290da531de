/** A program of ours as one file of plain JavaScript, for processes that are started often or traced:
 *  they start in a third of the time, and what runs is what the sources say now. */

import { copyFile, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../..', import.meta.url))

export type Bundles<Name extends string> = AsyncDisposable & {
  readonly files: Readonly<Record<Name, string>>
}

/** `entries`: names, and files of the project. It is laid out as the package is, which finds itself by
 *  its package.json. `splitting`: true if entries share modules, as files of one program do. */
export async function bundle<Name extends string>(
  entries: Readonly<Record<Name, string>>,
  { splitting = false }: { readonly splitting?: boolean } = {},
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
    splitting,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    logLevel: 'silent',
  })
  const files = Object.fromEntries(names.map((name) => [name, join(outdir, `${name}.js`)]))
  return {
    files: files as Record<Name, string>,
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  }
}
