/** The code of a module: all files that it imports, directly or not, and the packages that these import.
 *  See rfc/24, rules 12 to 14.
 *  Invariant: equal for two checkouts of a project at different places, and in canonical order. Each
 *  file is read once, whatever the number of modules that import it. */

import { closeSync, openSync, readFileSync, readSync, realpathSync, statSync } from 'node:fs'
import { dirname, extname, relative } from 'node:path'
import { LoopSlice } from '../base/loop-slice.js'
import { invalid } from '../base/shape.js'
import { hashBlob, StreamHash } from '../blob/hash.js'
import { reasonOf, TailraceError } from '../error.js'
import { importsOf, type ModuleImport } from './imports.js'
import { type CodePart, isThere, Resolution } from './resolution.js'

/** The largest number of files that belong to a module. */
export const codeFilesMax = 10_000
/** The largest size of a file in which imports are looked for, in bytes. */
export const sourceSizeMax = 16 * 1024 * 1024
/** The size of the pieces in which files are hashed, in bytes. */
const pieceSize = 1024 * 1024

/** The code of a module, as a part of an action. */
export type ModuleCode = {
  /** The BLAKE3 of each file, 64 hex digits, by its path from the root of the module's package. */
  readonly files: Readonly<Record<string, string>>
  /** The version of each package that is imported, by its name; null if it is not installed. Several
   *  versions of one name are a list, as text. */
  readonly packages: Readonly<Record<string, string | null>>
}

/** A file, and where its imports lead. */
type Source = { readonly hash: string; readonly imports: readonly CodePart[] }

/** Reads the code of modules. Mutable: it remembers all that it has read; owned by the reader of one
 *  run. */
export class Modules {
  readonly #resolution = new Resolution()
  readonly #sources = new Map<string, Source>()
  readonly #codes = new Map<string, Promise<ModuleCode>>()

  /** Returns the code of a module, one object for all who ask. Throws EINVAL (the module is a part of
   *  an installed package; a file cannot be read; an import leads nowhere), E2BIG. */
  codeOf(path: string): Promise<ModuleCode> {
    const known = this.#codes.get(path)
    if (known) return known
    const code = this.#walk(path)
    this.#codes.set(path, code)
    return code
  }

  async #walk(path: string): Promise<ModuleCode> {
    const start = realPathOf(path)
    const part = this.#resolution.partOf(start)
    if (part.type === 'package') {
      throw invalid(
        `${path} is a part of the package ${part.name}: give a function of your own that calls it`,
      )
    }
    const root = this.#resolution.scopeOf(dirname(start))?.directory ?? dirname(start)
    const slice = new LoopSlice()
    const files = new Map<string, string>()
    const versions = new Map<string, Set<string>>()
    // The set grows while it is walked, by what each file imports.
    const reached = new Set([start])
    for (const file of reached) {
      if (slice.over) await slice.turn()
      const { hash, imports } = this.#sourceOf(file)
      files.set(relative(root, file), hash)
      for (const one of imports) {
        if (one.type === 'file') reached.add(one.path)
        else noteVersion(versions, one.name, one.version)
      }
      if (reached.size > codeFilesMax) {
        throw new TailraceError(
          'E2BIG',
          `${path} imports more than ${codeFilesMax} files of its own`,
        )
      }
    }
    const packages = [...versions].map(([name, of]): [string, string | null] => [
      name,
      of.size === 0 ? null : [...of].sort().join(', '),
    ])
    return { files: sorted(files), packages: sorted(packages) }
  }

  #sourceOf(path: string): Source {
    const known = this.#sources.get(path)
    if (known) return known
    const source = this.#read(path)
    this.#sources.set(path, source)
    return source
  }

  #read(path: string): Source {
    try {
      if (!isCode(path)) return { hash: hexHashOfFile(path), imports: [] }
      const { size } = statSync(path)
      if (size > sourceSizeMax) {
        throw new TailraceError('E2BIG', `${path} has ${size} bytes, more than ${sourceSizeMax}`)
      }
      const bytes = readFileSync(path)
      const found = importsOf(path, bytes.toString())
      return { hash: hexHashOf(bytes), imports: found.flatMap((one) => this.#partsOf(one, path)) }
    } catch (error) {
      if (error instanceof TailraceError) throw error
      throw unreadable(path, error)
    }
  }

  #partsOf({ specifier, line, isLazy }: ModuleImport, from: string): readonly CodePart[] {
    const parts = this.#resolution.resolve(specifier, from)
    // A program may try to import a package, and do without it.
    if (parts && (isLazy || parts.every(isThere))) return parts
    const remedies = [
      ...(/^[./#]|^file:/.test(specifier) ? [] : [remedyForName]),
      ...(isLazy ? [] : [remedyForTypes]),
    ]
    throw invalid(
      [`${from}:${line}: the import of "${specifier}" leads nowhere`, ...remedies].join('. '),
    )
  }
}

const remedyForName =
  'Names that only a bundler or a tsconfig.json knows are not found: put them into "imports" of ' +
  'package.json'
const remedyForTypes = 'If it has types only, say `import type`'

/** True for a file in which imports are looked for. A program may have no ending. */
function isCode(path: string): boolean {
  return /^(\.[cm]?[jt]s|\.[jt]sx|)$/.test(extname(path))
}

function noteVersion(
  versions: Map<string, Set<string>>,
  name: string,
  version: string | null,
): void {
  const known = versions.get(name) ?? new Set()
  if (version !== null) known.add(version)
  versions.set(name, known)
}

function sorted<T>(entries: Iterable<readonly [string, T]>): Readonly<Record<string, T>> {
  return Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** Returns the BLAKE3 of bytes as 64 hex digits. */
export function hexHashOf(bytes: Uint8Array): string {
  if (bytes.length <= pieceSize) return hashBlob(bytes).slice('blake3-'.length)
  using hash = new StreamHash()
  hashPieces(hash, bytes)
  return hash.digest().toString('hex')
}

/** Adds bytes of any size to a hash. */
export function hashPieces(hash: StreamHash, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; at += pieceSize) {
    hash.update(bytes.subarray(at, at + pieceSize))
  }
}

/** Returns the BLAKE3 of a file of any size; a large one is never in memory as a whole. */
function hexHashOfFile(path: string): string {
  if (statSync(path).size <= pieceSize) return hexHashOf(readFileSync(path))
  using hash = new StreamHash()
  const piece = Buffer.allocUnsafe(pieceSize)
  const file = openSync(path, 'r')
  try {
    let size = readSync(file, piece, 0, pieceSize, null)
    while (size > 0) {
      hash.update(piece.subarray(0, size))
      size = readSync(file, piece, 0, pieceSize, null)
    }
  } finally {
    closeSync(file)
  }
  return hash.digest().toString('hex')
}

function realPathOf(path: string): string {
  try {
    return realpathSync.native(path)
  } catch (error) {
    throw unreadable(path, error)
  }
}

function unreadable(path: string, error: unknown): TailraceError {
  const message = `${path} cannot be read: ${reasonOf(error)}`
  return new TailraceError('EINVAL', message, { cause: error })
}
