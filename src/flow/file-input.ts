/** Files and directories as inputs of targets: what is in them is a part of the action. See rfc/24, rules 33
 *  and 35.
 *  Invariant: two directories have one hash if and only if they have the same names, contents, links, and
 *  files that can be executed, whoever has them and whenever they were written. */

import { createReadStream } from 'node:fs'
import { lstat, readdir, readlink } from 'node:fs/promises'
import { StreamHash } from '../blob/hash.js'
import { pack, unpack } from '../cache/packing.js'
import { hasSystemCode, reasonOf, TailraceError } from '../error.js'
import { hexHashOf } from './modules.js'

/** The size of the pieces in which a file is read. */
const pieceSize = 1024 * 1024
/** The largest number of entries of a directory that is an input, those below it included. */
export const directoryEntriesMax = 100_000
/** The number of entries that are read at the same time. */
const readTogetherMax = 16

/** An entry of a directory: its path there, its kind, and the hash of a file, or the target of a link. */
export type DirectoryEntry = readonly [
  path: string,
  kind: 'directory' | 'file' | 'executable' | 'link',
  content: string,
]

/** True for the path of a directory, as `directory` gives it. */
export function isDirectoryPath(path: string): boolean {
  return path.endsWith('/')
}

/** Returns the BLAKE3 of the bytes of a file, or of the packed entries of a directory, 64 hex digits. Throws
 *  ENOENT, EINVAL (it cannot be read), E2BIG (a directory of more than `directoryEntriesMax`). */
export async function hashOfInput(path: string): Promise<string> {
  if (!isDirectoryPath(path)) return hashOfFile(path)
  return hexHashOf(packEntries(await entriesOf(path)))
}

/** The hashes of the files and directories of a run. Mutable; owned by the run. */
export class InputHashes {
  readonly #known = new Map<string, string>()
  #haveChanged = false

  /** Reads what is there, and returns its hash. Throws what `hashOfInput` throws. */
  async read(path: string): Promise<string> {
    const hash = await hashOfInput(path)
    const before = this.#known.get(path)
    if (before !== undefined && before !== hash) this.#haveChanged = true
    this.#known.set(path, hash)
    return hash
  }

  /** Returns the hash that was read last; reads what was not read before. */
  of(path: string): string | Promise<string> {
    return this.#known.get(path) ?? this.read(path)
  }

  /** True if one of them was read with different hashes. */
  get haveChanged(): boolean {
    return this.#haveChanged
  }
}

async function hashOfFile(path: string): Promise<string> {
  using hash = new StreamHash()
  try {
    for await (const piece of createReadStream(path, { highWaterMark: pieceSize })) {
      hash.update(piece as Buffer)
    }
  } catch (error) {
    throw unreadable('file', path, error)
  }
  return hash.digest().toString('hex')
}

function unreadable(what: string, path: string, error: unknown): TailraceError {
  if (error instanceof TailraceError) return error
  const code = hasSystemCode(error, 'ENOENT') ? 'ENOENT' : 'EINVAL'
  const message = `the ${what} ${path}, an input of a target, cannot be read: ${reasonOf(error)}`
  return new TailraceError(code, message, { cause: error })
}

/** Returns the entries of a directory and of all below it, in the order of their paths. */
export async function entriesOf(directory: string): Promise<readonly DirectoryEntry[]> {
  try {
    const names = await namesIn(directory)
    const entries: DirectoryEntry[] = []
    for (let at = 0; at < names.length; at += readTogetherMax) {
      const some = names.slice(at, at + readTogetherMax)
      entries.push(...(await Promise.all(some.map((name) => entryOf(directory, name)))))
    }
    return entries
  } catch (error) {
    throw unreadable('directory', directory, error)
  }
}

/** Returns the paths of all below a directory, in their order. */
async function namesIn(directory: string): Promise<readonly string[]> {
  const found: string[] = []
  const open = ['']
  for (let above = open.pop(); above !== undefined; above = open.pop()) {
    for (const entry of await readdir(directory + above, { withFileTypes: true })) {
      const path = above + entry.name
      found.push(path)
      if (entry.isDirectory()) open.push(`${path}/`)
    }
    if (found.length <= directoryEntriesMax) continue
    const message = `the directory ${directory}, an input of a target, has more than ${directoryEntriesMax} entries`
    throw new TailraceError('E2BIG', message)
  }
  return found.sort((a, b) => (a < b ? -1 : 1))
}

async function entryOf(directory: string, path: string): Promise<DirectoryEntry> {
  const stats = await lstat(directory + path)
  if (stats.isDirectory()) return [path, 'directory', '']
  if (stats.isSymbolicLink()) return [path, 'link', await readlink(directory + path)]
  if (!stats.isFile()) throw new Error(`${path} is neither a file, nor a link, nor a directory`)
  const isExecutable = (stats.mode & 0o100) !== 0
  return [path, isExecutable ? 'executable' : 'file', await hashOfFile(directory + path)]
}

/** Returns the bytes of the entries of a directory. */
export function packEntries(entries: readonly DirectoryEntry[]): Uint8Array {
  return pack(entries, 'a directory')
}

/** Returns the entries that were packed. */
export function unpackEntries(bytes: Uint8Array): readonly DirectoryEntry[] {
  return unpack(bytes, 'a directory') as readonly DirectoryEntry[]
}
