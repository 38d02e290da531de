/** LMDB under the durable engine: opens the tables of a directory, and runs transactions. The only
 *  file that imports lmdb. See rfc/4, rules 13 and 15.
 *  Invariant: when `write` resolves, its transaction is on the disk (`overlappingSync` is off). */

import { setImmediate } from 'node:timers/promises'
import { getSystemErrorMap } from 'node:util'
import { ABORT, type Database, open, type RootDatabase, type Transaction } from 'lmdb'
import { closeFilesOnExec } from '../base/posix.js'
import { reasonOf, TailraceError } from '../error.js'
import { shortenWriteMessage } from './lmdb-message.js'
import type { Range, Table, Tables, Writes } from './tables.js'

/** The codes of LMDB's errors that mean damage: MDB_PAGE_NOTFOUND, MDB_CORRUPTED, MDB_INVALID. */
const damageCodes: ReadonlySet<unknown> = new Set([-30_797, -30_796, -30_793])

/** The options of each read; without a transaction it sees the newest state. */
type Snapshot = { transaction?: Transaction }
type Store = Database<Buffer, Uint8Array> & {
  // The library's types leave out the second parameter.
  getBinaryFast(key: Uint8Array, options: Snapshot): Buffer | undefined
}
type Root = RootDatabase<Buffer, Uint8Array>

const binary = { encoding: 'binary', keyEncoding: 'binary' } as const

/** The tables of an environment. */
export type OpenTables = Tables & {
  /** Returns a table that an older format had. */
  table(name: string): Table
}

/** Opens the tables in a directory; makes the file where it is missing. REQUIRES: the caller has the
 *  lock of the store, and `makeOpenable` passed. Throws what the library throws. */
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
    throw systemError(error)
  }
}

class LmdbTable implements Table {
  readonly #database: Store
  readonly #root: Root
  readonly #snapshot: Snapshot

  /** `snapshot` belongs to the tables, who say what is read. */
  constructor(database: Store, root: Root, snapshot: Snapshot) {
    this.#database = database
    this.#root = root
    this.#snapshot = snapshot
  }

  /** Throws ECORRUPT (damaged pages on the way to the key), EIO. */
  get(key: Uint8Array): Buffer | undefined {
    const shared = this.#reading(() => this.#database.getBinaryFast(key, this.#snapshot))
    // The library's buffer is longer than its `length` says, which no other function expects.
    return shared && Buffer.from(shared.buffer, shared.byteOffset, shared.length)
  }

  *keys(range: Range): Iterable<Buffer> {
    // With binary keys the library gives Buffers, whatever its types say.
    const options = { ...range, ...this.#snapshot }
    const keys = this.#reading(() => this.#database.getKeys(options)[Symbol.iterator]())
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

  /** Runs a read. One that met a damaged page leaves the read transaction unusable for all reads, so
   *  this ends that transaction, and the next read begins another one. Throws ECORRUPT, EIO. */
  #reading<T>(read: () => T): T {
    try {
      return read()
    } catch (error) {
      this.#root.resetReadTxn()
      leave(this.#snapshot)
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
  /** Has a transaction during a write, and for good after one that LMDB cannot undo. */
  readonly #snapshot: Snapshot = {}

  constructor(root: Root) {
    this.#root = root
    this.meta = this.table('meta')
    this.index = this.table('index')
    this.segments = this.table('segments')
    this.roots = this.table('roots')
    this.namespaces = this.table('namespaces')
  }

  table(name: string): LmdbTable {
    const database = this.#root.openDB<Buffer, Uint8Array>({ name, ...binary })
    return new LmdbTable(database, this.#root, this.#snapshot)
  }

  async write(writes: Writes): Promise<void> {
    // The library would never answer.
    if (this.#snapshot.transaction) throw new Error('no write is possible after one that failed')
    // Once LMDB has failed to write a meta page, it begins no transaction any more, for reads neither.
    // So reads use one that began before, until the write has succeeded. It sees what was durable
    // then, whatever the meta page says now, and no write takes its pages.
    this.#snapshot.transaction = this.#root.useReadTransaction()
    try {
      await this.#root.batch(() => {
        for (const { table, key, value } of writes.list) {
          if (table instanceof LmdbTable) table.write(key, value)
        }
      })
      leave(this.#snapshot)
    } catch (error) {
      const failure = await failureOf(error)
      if (this.writable()) leave(this.#snapshot)
      // A read that met a damaged page has left it. The library would show the others no keys.
      else if (!this.#snapshot.transaction) await this.close()
      throw failure
    }
  }

  writable(): boolean {
    let id = 0
    try {
      this.#root.transactionSync(() => {
        id = this.#root.getWriteTxnId()
        return ABORT
      })
    } catch {
      return false
    }
    return id > 0 // the library runs a transaction that LMDB could not begin, and gives it no id
  }

  async close(): Promise<void> {
    leave(this.#snapshot)
    await this.#root.close()
  }
}

/** Lets reads see the newest state. */
function leave(snapshot: Snapshot): void {
  snapshot.transaction?.done()
  delete snapshot.transaction
}

/** Resolves to what a failed transaction met, as far as the library tells. Its error has a promise
 *  `commitError`, which is rejected with that, and would end the process if nobody handled it. It may
 *  stay open for ever, so it has one turn of the event loop. */
async function failureOf(error: unknown): Promise<unknown> {
  if (!(error instanceof Error) || !('commitError' in error)) return error
  if (!(error.commitError instanceof Promise)) return error
  const told = error.commitError.catch((failure: unknown) => systemError(failure))
  return Promise.race([told, setImmediate(error)])
}

/** Returns an error of the library with the system's code as node:fs says it, if it has one. */
function systemError(error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error)) return error
  if (typeof error.code !== 'number') return error
  const [code] = getSystemErrorMap().get(-error.code) ?? []
  return code === undefined ? error : Object.assign(error, { code })
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
