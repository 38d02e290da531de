/** The files of this repository as the tidy rules see them: read once, with their imports. */

import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { codeOf, type Import, importsOf } from './source.js'

/** `path` is from the repository's root, with `/`. */
export type File = {
  readonly path: string
  readonly text: string
  /** The text without comments and strings, the same lines. */
  readonly code: string
  readonly imports: readonly Import[]
}

export const repository = join(dirname(fileURLToPath(import.meta.url)), '..', '..')

export function readText(path: string): string {
  return readFileSync(join(repository, path), 'utf8')
}

/** The paths below a directory, sorted; none where it does not exist. */
export function pathsIn(directory: string): string[] {
  let entries: { readonly name: string; readonly isFile: () => boolean; parentPath: string }[]
  try {
    entries = readdirSync(join(repository, directory), { recursive: true, withFileTypes: true })
  } catch {
    return []
  }
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(repository.length + 1))
    .sort()
}

export const files: readonly File[] = ['src', 'test', 'bench']
  .flatMap(pathsIn)
  .filter((path) => path.endsWith('.ts'))
  .map((path) => {
    const text = readText(path)
    return { path, text, code: codeOf(text), imports: importsOf(text) }
  })

export const sources: readonly File[] = files.filter(({ path }) => path.startsWith('src/'))

const byPath = new Map(files.map((file) => [file.path, file]))

/** The file that an import names: undefined for packages, built-ins, and files that are not there. */
export function targetOf(file: File, { from }: Import): File | undefined {
  if (!from.startsWith('.')) return undefined
  return byPath.get(posix.join(posix.dirname(file.path), from).replace(/\.js$/, '.ts'))
}

/** The package that an import names: undefined for files and built-ins. */
export function packageOf({ from }: Import): string | undefined {
  if (from.startsWith('.') || from.startsWith('node:')) return undefined
  const [scope, name] = from.split('/')
  return scope?.startsWith('@') ? `${scope}/${name}` : scope
}

/** The lines of `code` on which the pattern is found, as `path:line`. */
export function linesWith(file: File, pattern: RegExp, text = file.code): string[] {
  return text
    .split('\n')
    .flatMap((line, index) => (pattern.test(line) ? [`${file.path}:${index + 1}`] : []))
}

/** Fails with what is there. */
export function nothing(complaints: readonly string[]): void {
  expect([...new Set(complaints)]).toEqual([])
}
