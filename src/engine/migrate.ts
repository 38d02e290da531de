/** Brings a store of format 1, whose blobs were in LMDB, up to format 2: a new store is made beside it
 *  with the same content, then takes its place. See rfc/4, rule 20.
 *  Invariant: the old store stays as it is until the new one is whole and durable; then one rename
 *  makes the new one the store. A crash before leaves the old one, and the migration begins anew. */

import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { makeDirectory, syncDirectory } from '../base/make-directory.js'
import type { Blob } from '../blob/blob.js'
import { type Blobref, blobrefAt } from '../blob/blobref.js'
import { decode, encode } from '../blob/codec.js'
import { isCode, isFullError, TailraceError } from '../error.js'
import { makeJournal, NotAppended } from '../journal/journal.js'
import { journalStart } from '../journal/place.js'
import { isFull } from './disk.js'
import { positionKey } from './flush.js'
import { format, formatKey, refile } from './identity.js'
import { type OpenTables, openTables } from './lmdb.js'
import { journalName, LocalState } from './local-state.js'
import { dataFile, makeOpenable } from './openable.js'
import { packedIn } from './pack.js'
import { encodePosition, indexKey, parsePlace, parseUint64, uint64 } from './record.js'
import { type Table, Writes } from './tables.js'
import type { WriteGroup } from './writer.js'

/** The number of the format that this file reads. */
const olderFormat = 1
/** The bytes of blobs, and the number of rows, that are brought over at a time. */
const batchSize = 8 * 1024 * 1024
const batchRows = 1_024
/** The rows of `meta` that the new store makes itself. */
const ownRows: ReadonlySet<string> = new Set([
  ...['format', 'watermark', 'stored', 'record', 'owner', 'files'],
])

/** Called with the bytes of blobs that were brought over so far, and those that there are. */
export type OnMigration = (done: number, total: number) => void

/** True if a store has the older format. */
export function isOlder(meta: Table): boolean {
  const found = meta.get(formatKey)
  return found !== undefined && decode(found) === olderFormat
}

/** Removes what a migration left that did not come to its end. REQUIRES: the caller has the lock. */
export async function discardMigration(directory: string): Promise<void> {
  await rm(join(directory, workName), { recursive: true, force: true })
}

/** Brings a store up to this format, and returns its new tables; the old ones are closed. The disk
 *  needs as much space again as the store takes. Throws ECORRUPT (damaged), ENOSPC, EIO, and what
 *  node:fs throws; the store is then as it was, and its tables are open. */
export async function migrate(
  directory: string,
  old: OpenTables,
  onMigration: OnMigration = () => {},
): Promise<OpenTables> {
  const work = join(directory, workName)
  try {
    await discardMigration(directory)
    // There only if a migration ended between its two renames.
    await rm(join(directory, journalName), { recursive: true, force: true })
    await makeDirectory(work)
    await makeJournal(join(work, journalName))
    await makeOpenable(work, { existing: false })
    const made = await openTables(work)
    try {
      await bringOver(directory, work, { old, made, onMigration })
    } finally {
      await made.close()
    }
    await syncDirectory(work)
  } catch (error) {
    const reason = await failureOf(directory, work, error)
    await discardMigration(directory).catch(() => {}) // the next open removes it
    throw reason
  }
  await old.close()
  await rename(join(work, journalName), join(directory, journalName))
  await syncDirectory(directory)
  await rename(join(work, dataFile), join(directory, dataFile))
  await syncDirectory(directory)
  await discardMigration(directory)
  return openTables(directory)
}

/** The directory in which the new store is made. */
const workName = 'migration'

/** Returns the error of a migration that failed. REQUIRES: its files are still there, since a full
 *  disk is told by a probe. */
async function failureOf(directory: string, work: string, error: unknown): Promise<unknown> {
  const cause = error instanceof NotAppended ? error.cause : error
  const isKnown = cause instanceof TailraceError || isFullError(cause)
  const full = isKnown ? isCode(cause, 'ENOSPC') || isFullError(cause) : await isFull(work, 0)
  // The engine's EIO speaks of a store that is open. The caller tells of one that does not open.
  if (!full) return isCode(cause, 'EIO') ? (cause.cause ?? cause) : cause
  const message = `no space left to bring the store in ${directory} up to format ${format}: make as much space as it takes, then open it again`
  return new TailraceError('ENOSPC', message, { cause })
}

async function bringOver(
  directory: string,
  work: string,
  {
    old,
    made,
    onMigration,
  }: {
    readonly old: OpenTables
    readonly made: OpenTables
    readonly onMigration: OnMigration
  },
): Promise<void> {
  const first = new Writes()
  first.put(made.meta, positionKey, encodePosition(journalStart))
  await made.write(first)
  const state = await LocalState.open(work, made, {})
  try {
    await bringBlobs(state, old, onMigration)
    await bringRows(state.rootRows, state, old.roots, () => true)
    await bringRows(state.namespaces, state, old.namespaces, () => true)
    await bringRows(state.meta, state, old.meta, (key) => !ownRows.has(key.toString()))
    await state.flush.all()
  } finally {
    await state.close()
  }
  // The last change: a store without it is no store yet.
  const last = new Writes()
  last.put(made.meta, formatKey, encode(format))
  await refile(directory, join(work, dataFile), { from: old.meta, to: made.meta, writes: last })
  await made.write(last)
}

/** Brings the blobs over, record by record. Of a blob that stands twice, the one that the index
 *  names is taken. What is damaged is left out, or comes as it is: those who need it are told so when
 *  they read it, as before. */
async function bringBlobs(
  state: LocalState,
  old: OpenTables,
  onMigration: OnMigration,
): Promise<void> {
  const records = old.table('blobs')
  const total = countOf(old.meta.get(Buffer.from('stored')))
  const indexed = countOf(old.meta.get(Buffer.from('watermark')))
  let batch: Blob[] = []
  let [size, done] = [0, 0]
  const flush = async () => {
    await append(state, { blobs: batch })
    done += size
    onMigration(done, Math.max(done, total))
    batch = []
    size = 0
  }
  onMigration(0, total)
  const last = lastIn(records, Math.max(indexed, countOf(old.meta.get(Buffer.from('record')))))
  for (let start = uint64(0); ; ) {
    const key = nextKey(records, { start, last })
    if (!key) break
    start = Buffer.concat([key, Buffer.of(0)])
    const bytes = readable(() => records.get(key))
    if (!bytes) continue
    const own = Buffer.from(bytes) // the index below reads over the table's buffer
    for (const blob of blobsIn(old.index, { key, bytes: own, indexed })) {
      batch.push(blob)
      size += blob.bytes.length
    }
    if (size >= batchSize || batch.length >= batchRows) await flush()
  }
  await flush()
}

/** Returns the key of the first record from `start` on. The library reads records with their keys: one
 *  whose pages are damaged is passed over. Throws ECORRUPT (it cannot be read on), EIO. */
function nextKey(
  records: Table,
  { start, last }: { readonly start: Buffer; readonly last: number },
): Buffer | undefined {
  for (let from = start; ; from = uint64(parseUint64(from, 0) + 1)) {
    try {
      // Only the first: the library would read the one behind it before it looks at a limit.
      for (const key of records.keys({ start: from })) return Buffer.from(key)
      return undefined
    } catch (error) {
      if (!isCode(error, 'ECORRUPT') || parseUint64(from, 0) > last) throw error
    }
  }
}

/** Returns the id of the last record, at least `known`. Throws EIO. */
function lastIn(records: Table, known: number): number {
  const [key] = readable(() => [...records.keys({ reverse: true, limit: 1 })]) ?? []
  return Math.max(known, key ? parseUint64(key, 0) : 0)
}

/** Calls `read`. Undefined where what it reads is damaged. Throws EIO. */
function readable<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (isCode(error, 'ECORRUPT')) return undefined
    throw error
  }
}

/** Lists the blobs of a record that no other record has: one whose key has a digest is a blob,
 *  another one a pack. `indexed` is the last record of which the index has every blob. */
function blobsIn(
  index: Table,
  record: { readonly key: Buffer; readonly bytes: Buffer; readonly indexed: number },
): Blob[] {
  const { key, bytes, indexed } = record
  const id = parseUint64(key, 0)
  const placeOf = (ref: Blobref) => {
    const place = readable(() => index.get(indexKey(ref)))
    return place && parsePlace(place)
  }
  const isElsewhere = (ref: Blobref) => (placeOf(ref)?.segment ?? id) !== id
  if (key.length > 8) {
    const ref = blobrefAt(key, 8)
    return isElsewhere(ref) ? [] : [{ ref, bytes }]
  }
  const packed = readable(() => packedIn(bytes)) ?? []
  // The head of a pack was never read where the index has its blobs: damage of it cost none of them.
  const isSound = packed.every(({ ref, offset }) => {
    const place = placeOf(ref)
    return place ? place.segment !== id || place.offset === offset : id > indexed
  })
  const blobs = packed.length > 0 && isSound ? packed : indexedIn(index, id)
  return blobs
    .filter(({ ref }) => !isElsewhere(ref))
    .map(({ ref, offset, length }) => ({ ref, bytes: bytes.subarray(offset, offset + length) }))
}

/** Lists the blobs that the index finds in a record. Reads the whole index. */
function indexedIn(index: Table, id: number): { ref: Blobref; offset: number; length: number }[] {
  const found: { ref: Blobref; offset: number; length: number }[] = []
  for (let after: Buffer | undefined; ; ) {
    const start = after ? Buffer.concat([after, Buffer.of(0)]) : undefined
    const range = { limit: batchRows, ...(start ? { start } : {}) }
    const keys = [...index.keys(range)].map((key) => Buffer.from(key))
    if (keys.length === 0) return found
    after = keys.at(-1)
    for (const key of keys) {
      const value = index.get(key)
      const place = value && parsePlace(value)
      if (place?.segment === id) found.push({ ref: blobrefAt(key, 0), ...place })
    }
  }
}

async function bringRows(
  target: Table,
  state: LocalState,
  source: Table,
  isWanted: (key: Buffer) => boolean,
): Promise<void> {
  for (let start: Buffer | undefined; ; ) {
    const keys = [...source.keys({ limit: batchRows, ...(start ? { start } : {}) })].map((key) =>
      Buffer.from(key),
    )
    const last = keys.at(-1)
    if (!last) return
    const writes = new Writes()
    for (const key of keys) {
      const value = source.get(key)
      if (value && isWanted(key)) writes.put(target, key, Buffer.from(value))
    }
    await append(state, { writes })
    start = Buffer.concat([last, Buffer.of(0)])
  }
}

async function append(state: LocalState, part: Partial<WriteGroup>): Promise<void> {
  const group: WriteGroup = {
    ...{ writes: new Writes(), blobs: [], moved: [], drops: new Set(), rolls: false },
    ...part,
  }
  const write = await state.complete(group)
  if (write) await (await write())()
  await state.flush.after()
}

function countOf(value: Buffer | undefined): number {
  const count = value && decode(value)
  return typeof count === 'number' ? count : 0
}
