/** Blobs in records: small ones packed, large ones bare, each found through the index. See rfc/4.
 *  Invariant: records are appended in the order of their ids and never changed; a ref that is stored
 *  is not stored again. */

import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { bareSizeMin, encodePack, packedIn, packedSize, packRoom } from './pack.js'
import { bareKey, corrupt, type Place, packKey, parseBlobKey } from './record.js'
import type { RefIndex } from './ref-index.js'
import type { Table, Writes } from './tables.js'

export class BlobTable {
  readonly #records: Table
  readonly #index: RefIndex
  /** Only `stage` and `rebuild` write it; an id that a failed transaction used is skipped. */
  #lastRecord = 0

  constructor(records: Table, index: RefIndex) {
    this.#records = records
    this.#index = index
  }

  get lastRecord(): number {
    return this.#lastRecord
  }

  /** Reads what the index has not on disk: keys of bare blobs, heads of packs. Throws ECORRUPT. */
  rebuild(): void {
    this.#lastRecord = this.#index.watermark()
    const tail = [...this.#records.keys({ start: packKey(this.#lastRecord + 1) })]
    for (const key of tail) {
      const { record, ref } = parseBlobKey(key)
      this.#lastRecord = record
      if (ref) this.#index.add(ref, barePlace(record))
      else this.#addPack(record, key)
    }
  }

  #addPack(record: number, key: Buffer): void {
    const bytes = this.#records.get(key)
    if (!bytes) throw corrupt('pack')
    for (const { ref, offset, length } of packedIn(bytes)) {
      this.#index.add(ref, { record, offset, length })
    }
  }

  /** Adds the blobs that are not stored yet to a transaction, with a slice of the index; call the
   *  result once it is durable. REQUIRES: as `RefIndex.ride`. */
  stage(writes: Writes, blobs: Iterable<Blob>): () => void {
    const before = this.#lastRecord
    const places = this.#stageRecords(writes, this.#missing(blobs))
    const rode = this.#index.ride(writes, places.size, before)
    return () => {
      rode()
      for (const [ref, place] of places) this.#index.add(ref, place)
    }
  }

  has(refs: readonly Blobref[]): boolean[] {
    return refs.map((ref) => this.#index.get(ref) !== undefined)
  }

  /** Undefined where it is not stored. Each is a buffer of its own. */
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

  #read(place: Place, ref: Blobref): Buffer | undefined {
    const bare = place.offset === 0
    return this.#records.get(bare ? bareKey(place.record, ref) : packKey(place.record))
  }

  #missing(blobs: Iterable<Blob>): Map<Blobref, Blob> {
    const missing = new Map<Blobref, Blob>()
    for (const blob of blobs) {
      if (!missing.has(blob.ref) && !this.#index.get(blob.ref)) missing.set(blob.ref, blob)
    }
    return missing
  }

  #stageRecords(writes: Writes, blobs: ReadonlyMap<Blobref, Blob>): Map<Blobref, Place> {
    const places = new Map<Blobref, Place>()
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

function barePlace(record: number): Place {
  return { record, offset: 0, length: 0 }
}

/** A copy, because the store's buffer is overwritten by its next read. */
function copyOf(bytes: Buffer, { offset, length }: Place): Uint8Array {
  const size = offset === 0 ? bytes.length : length
  if (offset + size > bytes.length) throw corrupt('pack')
  const copy = Buffer.allocUnsafeSlow(size)
  bytes.copy(copy, 0, offset, offset + size)
  return copy
}
