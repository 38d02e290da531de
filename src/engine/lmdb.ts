/** LMDB under the durable engine: opens a directory, locks it against other processes, and runs
 *  transactions. The only file that imports lmdb. See rfc/4.
 *  Invariant: one process has a directory open at a time. When `write` resolves, its transaction is
 *  on the disk (`overlappingSync` is off). */

import { realpath } from 'node:fs/promises'
import { dirname } from 'node:path'
import { ABORT, type Database, open, type RootDatabase } from 'lmdb'
import type { Environment } from '../base/environment.js'
import { makeDirectory, syncDirectory } from '../base/make-directory.js'
import { closeFilesOnExec } from '../base/posix.js'
import { TailraceError, toTailraceError } from '../error.js'
import { isFull, isFullError } from './disk.js'
import { assertFormat, type Identity, identify, storeFiles } from './identity.js'
import { type LmdbBounds, LmdbEngine } from './lmdb-engine.js'
import { shortenWriteMessage } from './lmdb-message.js'
import { assertOpenable } from './openable.js'
import { StoreLock } from './owner.js'
import { Reserve } from './reserve.js'
import { type Range, type Table, type Tables, Writes } from './tables.js'

type LmdbOptions = {
  readonly environment: Environment
  readonly bounds?: LmdbBounds
  /** True if no store is made: one that is missing, or was never finished, is then an error. */
  readonly existing?: boolean
}

/** The codes of LMDB's errors that mean damage: MDB_PAGE_NOTFOUND, MDB_CORRUPTED, MDB_INVALID. */
const damageCodes: ReadonlySet<unknown> = new Set([-30_797, -30_796, -30_793])

type Store = Database<Buffer, Uint8Array>
type Root = RootDatabase<Buffer, Uint8Array>

/** The number of meta pages, which belong to no table. */
const metaPages = 2

const binary = { encoding: 'binary', keyEncoding: 'binary' } as const

/** Opens the store in a directory; makes both where they are missing (the directory with mode
 *  0700), unless `existing`. Throws EBUSY (it is open already: the message has the path and the pid
 *  of that process), EMISCONFIGURED (a newer format, no native build), ECORRUPT, ENOSPC, EIO. */
export async function openLmdb(directory: string, options: LmdbOptions): Promise<LmdbEngine> {
  try {
    if (!options.existing) await makeDirectory(directory)
    const path = await realpath(directory)
    const lock = await StoreLock.take(path)
    try {
      return await openLocked(path, lock, options)
    } catch (error) {
      lock.release()
      throw error
    }
  } catch (error) {
    throw await openError(directory, error)
  }
}

async function openLocked(
  directory: string,
  lock: StoreLock,
  options: LmdbOptions,
): Promise<LmdbEngine> {
  const { environment, bounds = {}, existing = false } = options
  await withReserve(directory, () => assertOpenable(directory, { existing }))
  const database = open<Buffer, Uint8Array>({
    path: directory,
    noSubdir: false, // a directory may have a dot in its name
    overlappingSync: false,
    // A batch is one transaction, and its promise is the only one that can reject (rfc/4).
    eventTurnBatching: false,
    ...{ batchStartThreshold: Number.MAX_SAFE_INTEGER }, // writes once a batch is complete
    ...binary,
  })
  shortenWriteMessage() // before the first write, since one that fails may end the process
  try {
    // LMDB lets children inherit its data file: a stray write of a child would corrupt the store.
    closeFilesOnExec(directory)
    const meta = openTable(database, 'meta')
    assertFormat(meta, directory)
    const tables = new LmdbTables(database, meta)
    const { storeId, formerId } = await claim(tables, directory, environment)
    const release = async () => {
      await tables.close()
      lock.release()
    }
    return new LmdbEngine({ environment, storeId, formerId, directory, tables, bounds, release })
  } catch (error) {
    await database.close()
    throw error
  }
}

/** Runs `act`. On a full disk it gives parts of the reserve back to the disk, and runs `act` again
 *  (rfc/4, rule 31). */
async function withReserve(directory: string, act: () => Promise<void>): Promise<void> {
  const reserve = new Reserve(directory)
  for (;;) {
    try {
      return await act()
    } catch (error) {
      if (!isFullError(error) || !reserve.release()) throw error
    }
  }
}

/** Takes the store for this process: reads its identity, and makes it durable. An older format is
 *  to be migrated here, in the same transaction. */
async function claim(
  tables: LmdbTables,
  directory: string,
  environment: Environment,
): Promise<Identity> {
  const writes = new Writes()
  const files = await storeFiles(directory)
  const identity = identify(tables, files, { environment, directory, writes })
  if (writes.list.length > 0) await tables.write(writes)
  if (identity.fresh) {
    await syncDirectory(directory)
    // The process that made the directory may have died before it synced the one above.
    await syncDirectory(dirname(directory))
  }
  return identity
}

class LmdbTable implements Table {
  readonly #database: Store
  readonly #root: Root

  constructor(database: Store, root: Root) {
    this.#database = database
    this.#root = root
  }

  /** Throws ECORRUPT (damaged pages on the way to the key), EIO. */
  get(key: Uint8Array): Buffer | undefined {
    const shared = this.#reading(() => this.#database.getBinaryFast(key))
    // The library's buffer is longer than its `length` says, which no other function expects.
    return shared && Buffer.from(shared.buffer, shared.byteOffset, shared.length)
  }

  *keys(range: Range): Iterable<Buffer> {
    // With binary keys the library gives Buffers, whatever its types say.
    const keys = this.#reading(() => this.#database.getKeys(range)[Symbol.iterator]())
    try {
      for (;;) {
        const { done, value } = this.#reading(() => keys.next())
        if (done) return
        yield value as unknown as Buffer
      }
    } finally {
      keys.return?.()
    }
  }

  /** Runs a read. One that met a damaged page leaves the read transaction unusable for all reads of
   *  this turn of the event loop, so this ends that transaction, and the next read begins another
   *  one. Throws ECORRUPT, EIO. */
  #reading<T>(read: () => T): T {
    try {
      return read()
    } catch (error) {
      this.#root.resetReadTxn()
      throw readError(error)
    }
  }

  get stats(): TreeStats {
    return this.#database.getStats() as TreeStats
  }

  /** Adds one write to the transaction under way. */
  write(key: Uint8Array, value: Uint8Array | undefined): void {
    if (value)
      void this.#database.put(key, value as Buffer) // the transaction's promise is awaited
    else void this.#database.remove(key)
  }
}

class LmdbTables implements Tables {
  readonly blobs: LmdbTable
  readonly index: LmdbTable
  readonly roots: LmdbTable
  readonly namespaces: LmdbTable
  readonly meta: LmdbTable
  readonly fill: LmdbTable
  readonly #root: Root

  constructor(root: Root, meta: LmdbTable) {
    this.#root = root
    this.meta = meta
    this.blobs = openTable(root, 'blobs')
    this.index = openTable(root, 'index')
    this.roots = openTable(root, 'roots')
    this.namespaces = openTable(root, 'namespaces')
    this.fill = openTable(root, 'fill')
  }

  get pageSize(): number {
    return statsOf(this.#root).pageSize
  }

  get pages(): number {
    return statsOf(this.#root).lastPageNumber
  }

  get freePages(): number {
    const { blobs, index, roots, namespaces, meta, fill } = this
    const { lastPageNumber, free, ...main } = statsOf(this.#root)
    const tables = [blobs, index, roots, namespaces, meta, fill].map((table) => table.stats)
    const used = [main, free, ...tables].reduce((sum, tree) => sum + pagesOf(tree), metaPages)
    return Math.max(0, lastPageNumber + 1 - used)
  }

  async write(writes: Writes): Promise<void> {
    try {
      await this.#root.batch(() => {
        for (const { table, key, value } of writes.list) {
          if (table instanceof LmdbTable) table.write(key, value)
        }
      })
    } catch (error) {
      quiet(error)
      throw error
    }
  }

  writable(): boolean {
    try {
      this.#root.transactionSync(() => ABORT)
      return true
    } catch {
      return false
    }
  }

  async close(): Promise<void> {
    await this.#root.close()
  }
}

type TreeStats = {
  readonly treeBranchPageCount: number
  readonly treeLeafPageCount: number
  readonly overflowPages: number
}

type FileStats = TreeStats & {
  readonly pageSize: number
  readonly lastPageNumber: number
  /** The tree that lists the free pages. */
  readonly free: TreeStats
}

/** Returns the statistics of the file, whose type the library does not declare. */
function statsOf(root: Root): FileStats {
  return root.getStats() as FileStats
}

function pagesOf(tree: TreeStats): number {
  return tree.treeBranchPageCount + tree.treeLeafPageCount + tree.overflowPages
}

function openTable(root: Root, name: string): LmdbTable {
  return new LmdbTable(root.openDB<Buffer, Uint8Array>({ name, ...binary }), root)
}

/** Handles the second rejection of a failed transaction: its error has a promise
 *  `commitError`, and an unhandled rejection would end the process. It is not awaited, since
 *  it may stay open for ever. */
function quiet(error: unknown): void {
  if (!(error instanceof Error) || !('commitError' in error)) return
  if (error.commitError instanceof Promise) error.commitError.catch(() => {})
}

function readError(error: unknown): TailraceError {
  const reason = error instanceof Error ? error.message : String(error)
  if (isDamage(error)) {
    const message = `the file of the store is damaged (${reason}): tailrace fsck tells what is lost`
    return new TailraceError('ECORRUPT', message, { cause: error })
  }
  return new TailraceError('EIO', `the store could not be read (${reason})`, { cause: error })
}

function isDamage(error: unknown): boolean {
  return error instanceof Error && 'code' in error && damageCodes.has(error.code)
}

async function openError(directory: string, error: unknown): Promise<TailraceError> {
  if (error instanceof TailraceError) return error
  if (isFullError(error) || (await isFull(directory, 0))) {
    const message = `no space left to open the store in ${directory}: make space, then open it again`
    return new TailraceError('ENOSPC', message, { cause: error })
  }
  const reason = error instanceof Error ? error.message : String(error)
  if (isDamage(error)) {
    const message = `the store in ${directory} is damaged (${reason}): restore a copy`
    return new TailraceError('ECORRUPT', message, { cause: error })
  }
  const { code } = toTailraceError(error)
  const message = `cannot open the store in ${directory} (${reason}): check the directory and the disk`
  return new TailraceError(code, message, { cause: error })
}
