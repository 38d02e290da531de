/** The table of blobs: small ones in packs, large ones as bare records, all found through the
 *  index. See rfc/4, rules 16 and 27.
 *  Invariant: records are appended in the order of their ids, and never changed. A ref that is
 *  stored is not stored again. */

import { LoopSlice } from '../base/loop-slice.js'
import { corrupt, isCount } from '../base/stored.js'
import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { decode, encode } from '../blob/codec.js'
import { bareSizeMin, encodePack, packedIn, packedSize, packRoom } from './pack.js'
import { type BlobPlace, bareKey, packKey, parseBlobKey } from './record.js'
import type { RefIndex } from './ref-index.js'
import { Sweep, type SweepOptions, type SweepPlan } from './sweep.js'
import type { Table, Tables, Writes } from './tables.js'
import type { WriteGroup } from './writer.js'

/** The key of the bytes of all blobs. A store from before this count begins at 0. */
const storedKey = Buffer.from('stored')
/** The key of the last record's id. Sweeps write it, since they may remove that record. */
const recordKey = Buffer.from('record')

/** The blobs of the durable engine. */
export class BlobTable {
  readonly #records: Table
  readonly #meta: Table
  readonly #index: RefIndex
  /** The id of the last record. Only `stage`, `sweep` and `rebuild` change it; an id that a failed
   *  transaction used is skipped. */
  #lastRecord = 0
  #stored = 0

  constructor(tables: Pick<Tables, 'blobs' | 'meta'>, index: RefIndex) {
    this.#records = tables.blobs
    this.#meta = tables.meta
    this.#index = index
  }

  /** The id of the last record. */
  get lastRecord(): number {
    return this.#lastRecord
  }

  /** Adds the records above the watermark to the index in memory, from the keys of bare records and
   *  the heads of packs. Throws ECORRUPT. */
  rebuild(): void {
    this.#lastRecord = Math.max(this.#index.watermark(), readCount(this.#meta, recordKey))
    this.#stored = readCount(this.#meta, storedKey)
    const tail = [...this.#records.keys({ start: packKey(this.#index.watermark() + 1) })]
    for (const key of tail) {
      const { record, ref } = parseBlobKey(key)
      this.#lastRecord = Math.max(this.#lastRecord, record)
      if (ref) this.#index.add(ref, barePlace(record))
      else this.#addPack(record, key)
    }
  }

  #addPack(record: number, key: Buffer): void {
    const bytes = this.#records.get(key)
    if (!bytes) throw corrupt('a stored pack')
    for (const { ref, offset, length } of packedIn(bytes)) {
      this.#index.add(ref, { record, offset, length })
    }
  }

  /** The bytes of the blobs that are stored. */
  get stored(): number {
    return this.#stored
  }

  /** Adds the records that a step frees and moves to a transaction. `stage` adds the
   *  changes of the index. */
  sweep(writes: Writes, options: SweepOptions): SweepPlan {
    const newRecord = () => ++this.#lastRecord
    const [records, index] = [this.#records, this.#index]
    return new Sweep({ records, index, writes, options, newRecord }).plan()
  }

  /** Adds the blobs that are not stored yet to a transaction, with a slice of the index, and the
   *  changes of the index by sweeps of the same transaction. Call the result once the transaction
   *  is durable. REQUIRES: no other transaction is under way. */
  async stage({ writes, blobs, sweeps }: WriteGroup): Promise<() => Promise<void>> {
    const slice = new LoopSlice({ urgent: true })
    const before = this.#lastRecord
    const missing = await this.#missing(blobs, sweeps, slice)
    const places = await this.#stageRecords(writes, missing, slice)
    const rode = this.#index.ride(writes, places.size, before)
    // After the slice, which may hold older places of blobs that are dropped or moved.
    const replaced = this.#index.replace(
      writes,
      sweeps.flatMap((plan) => [...replacedBy(plan)]),
    )
    const added = [...missing.values()].reduce((sum, { bytes }) => sum + bytes.length, 0)
    const freed = sweeps.reduce((sum, { size }) => sum + size, 0)
    const stored = Math.max(0, this.#stored + added - freed)
    if (stored !== this.#stored) writes.put(this.#meta, storedKey, encode(stored))
    if (freed > 0) writes.put(this.#meta, recordKey, encode(this.#lastRecord))
    return async () => {
      replaced()
      rode()
      for (const [ref, place] of places) {
        this.#index.add(ref, place)
        if (slice.over) await slice.turn()
      }
      this.#stored = stored
    }
  }

  /** Tells for each ref if it is stored. */
  has(refs: readonly Blobref[]): boolean[] {
    return refs.map((ref) => this.#index.get(ref) !== undefined)
  }

  /** Returns the bytes of each ref, undefined where it is not stored. Each is a buffer of its
   *  own. */
  load(refs: readonly Blobref[]): (Uint8Array | undefined)[] {
    const places = refs.map((ref) => this.#index.get(ref))
    let open: { readonly record: number; readonly bytes: Buffer } | undefined
    return places.map((place, index) => {
      const ref = refs[index]
      if (!place || !ref) return undefined
      if (open?.record !== place.record) {
        const bytes = this.#read(place, ref)
        open = bytes && { record: place.record, bytes }
      }
      return open && copyOf(open.bytes, place)
    })
  }

  #read(place: BlobPlace, ref: Blobref): Buffer | undefined {
    const bare = place.offset === 0
    return this.#records.get(bare ? bareKey(place.record, ref) : packKey(place.record))
  }

  /** Finds the blobs that are not stored, or that a sweep of the same transaction drops. */
  async #missing(
    blobs: Iterable<Blob>,
    sweeps: readonly SweepPlan[],
    slice: LoopSlice,
  ): Promise<Map<Blobref, Blob>> {
    const missing = new Map<Blobref, Blob>()
    for (const blob of blobs) {
      if (slice.over) await slice.turn()
      if (missing.has(blob.ref)) continue
      const dropped = sweeps.some(({ dropped: refs }) => refs.has(blob.ref))
      if (dropped || !this.#index.get(blob.ref)) missing.set(blob.ref, blob)
    }
    return missing
  }

  async #stageRecords(
    writes: Writes,
    blobs: ReadonlyMap<Blobref, Blob>,
    slice: LoopSlice,
  ): Promise<Map<Blobref, BlobPlace>> {
    const places = new Map<Blobref, BlobPlace>()
    let open: Blob[] = []
    let room = packRoom
    const flush = () => {
      if (open.length === 0) return
      const record = ++this.#lastRecord
      const { bytes, packed } = encodePack(open)
      writes.put(this.#records, packKey(record), bytes)
      for (const { ref, offset, length } of packed) places.set(ref, { record, offset, length })
      open = []
      room = packRoom
    }
    for (const blob of blobs.values()) {
      if (slice.over) await slice.turn()
      if (blob.bytes.length >= bareSizeMin) {
        const record = ++this.#lastRecord
        writes.put(this.#records, bareKey(record, blob.ref), blob.bytes)
        places.set(blob.ref, barePlace(record))
        continue
      }
      if (packedSize(blob) > room) flush()
      open.push(blob)
      room -= packedSize(blob)
    }
    flush()
    return places
  }
}

/** Lists the new places of the refs that a sweep changes, undefined for those that it drops. */
function* replacedBy({ dropped, moved }: SweepPlan): Iterable<[Blobref, BlobPlace | undefined]> {
  for (const ref of dropped) yield [ref, undefined]
  yield* moved
}

/** Reads a count from the table `meta`, 0 where there is none. Throws ECORRUPT. */
function readCount(meta: Table, key: Uint8Array): number {
  const bytes = meta.get(key)
  const value = bytes ? decode(bytes) : 0
  if (!isCount(value)) throw corrupt('a stored count')
  return value
}

function barePlace(record: number): BlobPlace {
  return { record, offset: 0, length: 0 }
}

/** Copies a blob out of a record, because the next read overwrites the table's buffer. */
function copyOf(bytes: Buffer, { offset, length }: BlobPlace): Uint8Array {
  const size = offset === 0 ? bytes.length : length
  if (offset + size > bytes.length) throw corrupt('a stored pack')
  const copy = Buffer.allocUnsafeSlow(size)
  bytes.copy(copy, 0, offset, offset + size)
  return copy
}
