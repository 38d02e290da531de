/** LMDB under the durable engine: opens the tables of a directory, and runs transactions. The only
 *  file that imports lmdb. See rfc/4, rules 13 and 15.
 *  Invariant: when `write` resolves, its transaction is on the disk (`overlappingSync` is off). */

import { ABORT, type Database, open, type RootDatabase } from 'lmdb'
import { closeFilesOnExec } from '../base/posix.js'
import { reasonOf, TailraceError } from '../error.js'
import { shortenWriteMessage } from './lmdb-message.js'
import type { Range, Table, Tables, Writes } from './tables.js'

/** The codes of LMDB's errors that mean damage: MDB_PAGE_NOTFOUND, MDB_CORRUPTED, MDB_INVALID. */
const damageCodes: ReadonlySet<unknown> = new Set([-30_797, -30_796, -30_793])

type Store = Database<Buffer, Uint8Array>
type Root = RootDatabase<Buffer, Uint8Array>

const binary = { encoding: 'binary', keyEncoding: 'binary' } as const

/** The tables of an environment. */
export type OpenTables = Tables & {
  /** Returns a table that an older format had. */
  table(name: string): Table
}

/** Opens the tables in a directory; makes the file where it is missing. REQUIRES: the caller has the
 *  lock of the store, and `assertOpenable` passed. Throws what the library throws. */
export async function openTables(directory: string): Promise<OpenTables> {
  const database = open<Buffer, Uint8Array>({
    path: directory,
    noSubdir: false, // a directory may have a dot in its name
    overlappingSync: false,
    // A batch is one transaction, and its promise is the only one that can reject (rfc/4).
    eventTurnBatching: false,
    ...{ batchStartThreshold: Number.MAX_SAFE_INTEGER }, // writes once a batch is complete
    ...binary,
  })
  try {
    shortenWriteMessage() // before the first write, since one that fails may end the process
    // LMDB lets children inherit its data file: a stray write of a child would corrupt the store.
    closeFilesOnExec(directory)
    return new LmdbTables(database)
  } catch (error) {
    await database.close()
    throw error
  }
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

  /** Adds one write to the transaction under way. */
  write(key: Uint8Array, value: Uint8Array | undefined): void {
    if (value)
      void this.#database.put(key, value as Buffer) // the transaction's promise is awaited
    else void this.#database.remove(key)
  }
}

class LmdbTables implements OpenTables {
  readonly index: LmdbTable
  readonly segments: LmdbTable
  readonly roots: LmdbTable
  readonly namespaces: LmdbTable
  readonly meta: LmdbTable
  readonly #root: Root

  constructor(root: Root) {
    this.#root = root
    this.meta = this.table('meta')
    this.index = this.table('index')
    this.segments = this.table('segments')
    this.roots = this.table('roots')
    this.namespaces = this.table('namespaces')
  }

  table(name: string): LmdbTable {
    return new LmdbTable(this.#root.openDB<Buffer, Uint8Array>({ name, ...binary }), this.#root)
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

/** Handles the second rejection of a failed transaction: its error has a promise
 *  `commitError`, and an unhandled rejection would end the process. It is not awaited, since
 *  it may stay open for ever. */
function quiet(error: unknown): void {
  if (!(error instanceof Error) || !('commitError' in error)) return
  if (error.commitError instanceof Promise) error.commitError.catch(() => {})
}

function readError(error: unknown): TailraceError {
  const reason = reasonOf(error)
  if (isDamage(error)) {
    const message = `the file of the store is damaged (${reason}): tailrace fsck tells what is lost`
    return new TailraceError('ECORRUPT', message, { cause: error })
  }
  return new TailraceError('EIO', `the store could not be read (${reason})`, { cause: error })
}

/** True if an error of the library means damage. */
export function isDamage(error: unknown): boolean {
  return error instanceof Error && 'code' in error && damageCodes.has(error.code)
}
