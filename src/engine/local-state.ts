/** The state of the durable engine, in memory and on the disk: the journal, the tables that follow
 *  it, and the changes between them. See rfc/4, rules 14 to 18.
 *  Invariant: a record is in memory once it is durable, and in the order of the records. A table's
 *  row is never newer than the journal. */

import { join } from 'node:path'
import { LoopSlice } from '../base/loop-slice.js'
import { blobrefAt } from '../blob/blobref.js'
import { isFullError, TailraceError } from '../error.js'
import { Journal, missingSegments, segmentFile } from '../journal/journal.js'
import type { PlacedRecord, Point } from '../journal/place.js'
import type { Change } from '../journal/record.js'
import { BlobTable } from './blob-table.js'
import { isFull } from './disk.js'
import { Flush, positionKey } from './flush.js'
import { Health } from './health.js'
import { PendingTable } from './pending.js'
import { indexKey, parsePosition } from './record.js'
import { placesIn, RefIndex } from './ref-index.js'
import { type HistoryBounds, historyBounds, RootTable } from './root-table.js'
import { SegmentTable } from './segment-table.js'
import type { Table, Tables } from './tables.js'
import type { WriteGroup } from './writer.js'

/** The name of the journal's directory in the store's. */
export const journalName = 'journal'

/** Bounds that tests make small. */
export type LocalBounds = {
  readonly history?: HistoryBounds
  /** The number of changes from which on the tables follow the journal. */
  readonly flushCount?: number
  /** The size of a segment of the journal, in bytes. */
  readonly segmentSize?: number
  /** The least number of bytes that a segment must give back for its live blobs to move. */
  readonly sparseSize?: number
}

/** The number of the index in the changes of a record. */
const indexNumber = 0

/** The state of one store. */
export class LocalState {
  readonly journal: Journal
  readonly segments: SegmentTable
  readonly blobs: BlobTable
  readonly roots: RootTable
  /** The rows of the roots, namespaces and facts of the store. */
  readonly rootRows: PendingTable
  readonly namespaces: PendingTable
  readonly meta: PendingTable
  readonly flush: Flush
  readonly health: Health
  /** The table of the index, which has all that was flushed. */
  readonly index: Table
  /** The point up to which all records are in memory. The journal may be one record ahead. */
  #taken: Point
  /** The tables in the order of their numbers in a record, which begin behind the index. */
  readonly #numbered: readonly PendingTable[]
  readonly #numbers: ReadonlyMap<Table, number>

  private constructor(parts: {
    readonly directory: string
    readonly tables: Tables
    readonly bounds: LocalBounds
    readonly pending: Pending
    readonly journal: Journal
    readonly blobs: BlobTable
    readonly watermark: Point
  }) {
    const { directory, tables, bounds, pending, journal, watermark } = parts
    const { index, segments, roots, namespaces, meta } = pending
    this.journal = journal
    this.index = tables.index
    this.segments = segments
    this.blobs = parts.blobs
    this.rootRows = roots
    this.namespaces = namespaces
    this.meta = meta
    this.#numbered = numberedIn(pending)
    this.#numbers = new Map(
      this.#numbered.map((table, at) => [table as Table, indexNumber + 1 + at]),
    )
    this.#taken = watermark
    this.health = new Health(directory)
    this.flush = new Flush({
      tables,
      parts: [index, segments, roots, namespaces, meta],
      // A new segment without a record: the one before it may be removed.
      end: () => (this.#taken.number === journal.end.number ? journal.end : this.#taken),
      watermark,
      ...(bounds.flushCount === undefined ? {} : { count: bounds.flushCount }),
      diagnose: async (size, cause) => {
        // The tables' library says EIO for a write that was cut short: a probe tells a full disk.
        const full = isFullError(cause) || (await isFull(directory, size))
        return full && tables.writable() ? this.health.full(cause) : this.health.break(cause)
      },
    })
    this.roots = new RootTable(roots, namespaces, bounds.history ?? historyBounds)
  }

  /** Opens the journal of a store, and takes its records behind the watermark into memory. Call
   *  `roots.rebuild` before the roots are used. `incomplete`: segments may be missing. Throws ECORRUPT,
   *  EIO, ENOSPC, and what node:fs throws. */
  static async open(
    directory: string,
    tables: Tables,
    { incomplete = false, ...bounds }: LocalBounds & { readonly incomplete?: boolean },
  ): Promise<LocalState> {
    const pending = pendingOf(tables)
    pending.segments.rebuild()
    if (!incomplete) await assertComplete(join(directory, journalName), pending.segments)
    const stored = tables.meta.get(positionKey)
    if (!stored)
      throw new TailraceError('ECORRUPT', `${directory} has no watermark: restore a copy`)
    const watermark = parsePosition(stored)
    const replayed: PlacedRecord[] = []
    const journal = await Journal.open(join(directory, journalName), {
      from: watermark,
      onRecord: (record) => replayed.push(record),
      ...(bounds.segmentSize === undefined ? {} : { segmentSize: bounds.segmentSize }),
    })
    const blobs = new BlobTable(journal, pending.index, pending.segments)
    const state = new LocalState({
      ...{ directory, tables, bounds, pending, journal, blobs, watermark },
    })
    try {
      const slice = new LoopSlice({ urgent: true })
      for (const record of replayed) {
        await state.#take(record)
        if (slice.over) await slice.turn()
      }
      await state.#removeOrphans(watermark, tables.index)
      return state
    } catch (error) {
      await journal.close()
      throw error
    }
  }

  /** The number of changes that the tables do not have yet; 0 after a close. */
  get waiting(): number {
    return this.flush.waiting
  }

  /** Completes a group: finds its blobs that are missing. Returns the function that writes its
   *  record; undefined where there is nothing to write. See `WriterOptions.complete`. */
  async complete(group: WriteGroup): Promise<(() => Promise<() => Promise<void>>) | undefined> {
    const missing = await this.blobs.missing(group.blobs, group.drops)
    const blobs = group.moved.length === 0 ? missing : [...missing, ...group.moved]
    const changes = this.#changesOf(group)
    const isEmpty = blobs.length === 0 && changes.length === 0
    if (isEmpty && !group.rolls) return undefined
    return async () => {
      if (group.rolls) await this.journal.roll()
      if (isEmpty) return async () => {}
      const record = await this.journal.append(blobs, changes)
      return () => this.#take(record)
    }
  }

  /** Brings everything into the tables and closes the journal. Where the tables cannot take it, the
   *  next open reads it from the journal. REQUIRES: nothing is written any more. */
  async close(): Promise<void> {
    try {
      if (!this.health.broken) await this.flush.all()
    } catch {
      // The disk is full or broken.
    }
    await this.flush.idle()
    await this.journal.close()
  }

  async #take(record: PlacedRecord): Promise<void> {
    const dropped = []
    for (const { table, key, value } of record.changes) {
      if (table === indexNumber) dropped.push(blobrefAt(key, 0))
      else this.#numbered[table - indexNumber - 1]?.apply(key, value)
    }
    await this.blobs.take(record, dropped)
    this.#taken = record.end
  }

  #changesOf({ writes, drops }: WriteGroup): Change[] {
    const changes: Change[] = []
    for (const ref of drops) {
      changes.push({ table: indexNumber, key: indexKey(ref), value: undefined })
    }
    for (const { table, key, value } of writes.list) {
      const number = this.#numbers.get(table)
      if (number === undefined) throw new Error('a change is of a table that the journal knows')
      changes.push({ table: number, key, value })
    }
    return changes
  }

  /** Removes segments that a collection was about to remove when the process ended: the tables do not
   *  know them, and have all their records. A segment in which the index finds a blob is none of them:
   *  its row was lost, and is made again. */
  async #removeOrphans(watermark: Point, index: Table): Promise<void> {
    const ids = (await this.journal.segments()).filter(
      (id) => id < watermark.segment && !this.segments.has(id),
    )
    if (ids.length === 0) return
    const live = await liveIn(index, ids)
    for (const [id, size] of live) {
      if (size > 0) this.segments.set(id, size)
      else await this.journal.remove(id, { overwrite: false })
    }
  }
}

/** Throws ECORRUPT if a segment that the tables know is not there. */
async function assertComplete(directory: string, segments: SegmentTable): Promise<void> {
  const missing = await missingSegments(directory, segments.ids)
  const [first] = missing
  if (first === undefined) return
  const others = missing.length === 1 ? '' : ` (and ${missing.length - 1} other segments)`
  const path = segmentFile(directory, first)
  const message = `${path}${others} is missing: put it back from a copy; without it "tailrace fsck" tells what is lost, and "tailrace fsck --repair" sets that aside, so that the rest can be used`
  throw new TailraceError('ECORRUPT', message)
}

/** Returns the bytes of the blobs that the index finds in each of some segments. Reads all of it. */
async function liveIn(index: Table, ids: readonly number[]): Promise<Map<number, number>> {
  const live = new Map(ids.map((id) => [id, 0]))
  for await (const page of placesIn(index)) {
    for (const { place } of page) {
      const size = live.get(place.segment)
      if (size !== undefined) live.set(place.segment, size + place.length)
    }
  }
  return live
}

type Pending = {
  readonly index: RefIndex
  readonly segments: SegmentTable
  readonly roots: PendingTable
  readonly namespaces: PendingTable
  readonly meta: PendingTable
}

function pendingOf(tables: Tables): Pending {
  return {
    index: new RefIndex(tables.index),
    segments: new SegmentTable(tables.segments),
    roots: new PendingTable(tables.roots),
    namespaces: new PendingTable(tables.namespaces),
    meta: new PendingTable(tables.meta),
  }
}

/** The numbers of the tables in a record are a part of the format: new ones come at the end. */
function numberedIn({ roots, namespaces, meta }: Pending): readonly PendingTable[] {
  return [roots, namespaces, meta]
}
