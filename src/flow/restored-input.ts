/** Writes files and directories that a call was given, from what its flow keeps of them, else from those of
 *  this machine if they are still the same. See rfc/27, rules 1 and 3.
 *  Invariant: what is written has the hash that the action tells, and nothing is written beside it. */

import { copyFile, cp, mkdir, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { isCode } from '../error.js'
import { partOf } from './failed-parts.js'
import { type DirectoryEntry, hashOfInput, isDirectoryPath, unpackEntries } from './file-input.js'
import type { FlowPlace } from './place.js'

/** A file or a directory as an action tells it. */
export type NamedInput = { readonly file: string; readonly hash: string }

/** Writes an input to a path. `base`: the directory from which its own path counts on this machine. Returns
 *  undefined, or the reason why it is missing. */
export async function restoreInput(
  place: FlowPlace,
  input: NamedInput,
  to: string,
  base: string,
): Promise<string | undefined> {
  const bytes = await partOf(place, input.hash)
  if (!bytes) return copyLocal(input, to, base)
  if (!isDirectoryPath(input.file)) await writeFile(to, bytes)
  else if (!(await restoreEntries(place, unpackEntries(bytes), to))) {
    return copyLocal(input, to, base)
  }
  return undefined
}

/** Writes the entries of a directory. Returns false, and may have written some, if the content of a file is
 *  not kept, or if an entry leads out of the directory. */
async function restoreEntries(
  place: FlowPlace,
  entries: readonly DirectoryEntry[],
  to: string,
): Promise<boolean> {
  await mkdir(to, { recursive: true })
  const directories = new Set(['.'])
  for (const [path, kind, content] of entries) {
    const isWithin = directories.has(dirname(path)) && !['', '.', '..'].includes(path)
    if (!isWithin) return false
    if (kind === 'directory') {
      directories.add(path)
      await mkdir(join(to, path), { recursive: true })
    } else if (kind === 'link') await symlink(content, join(to, path))
    else {
      const bytes = await partOf(place, content)
      if (!bytes) return false
      await writeFile(join(to, path), bytes, { mode: kind === 'executable' ? 0o755 : 0o644 })
    }
  }
  return true
}

/** Copies an input of this machine that has the hash. Returns undefined, or the reason why there is none. */
async function copyLocal(
  { file, hash }: NamedInput,
  to: string,
  base: string,
): Promise<string | undefined> {
  const isDirectory = isDirectoryPath(file)
  const from = isDirectory ? join(resolve(base, file), '/') : resolve(base, file)
  try {
    if ((await hashOfInput(from)) !== hash) {
      return `the flow does not keep it, and ${from} is another one`
    }
  } catch (error) {
    if (!isCode(error, 'ENOENT') && !isCode(error, 'EINVAL')) throw error
    return `the flow does not keep it, and there is no ${from}`
  }
  if (isDirectory) await cp(from, to, { recursive: true, force: true, verbatimSymlinks: true })
  else await copyFile(from, to)
  return undefined
}
