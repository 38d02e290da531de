/** One look at the records of blobs, and what goes with it: records without a live blob, and packs
 *  with few of them, whose live ones move to a new pack. See rfc/4.
 *  Invariant: plans only; nothing is deleted before its transaction is durable, and what moves is
 *  in its new place by the same transaction. */

import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { type SweepStep, type Swept, sweepRefsMax, sweepStepSize } from './engine.js'
import { encodePack, packedIn, packedSize, packRoom } from './pack.js'
import { type BlobPlace, packKey, parseBlobKey } from './record.js'
import type { RefIndex } from './ref-index.js'
import type { Table, Writes } from './tables.js'

/** A pack stays as it is while more of its bytes than this share are live. */
export const packLiveShare = 0.75

export type SweepPlan = {
  readonly swept: Swept
  /** Refs that are stored no more. */
  readonly dropped: ReadonlySet<Blobref>
  readonly moved: ReadonlyMap<Blobref, BlobPlace>
  /** Bytes of blobs that go, copies that no index entry names included. */
  readonly size: number
}

export type SweepOptions = SweepStep & {
  /** The last record to look at: what came later is new. */
  readonly until: number
  readonly isSpared: (ref: Blobref) => boolean
}

export class Sweep {
  readonly #records: Table
  readonly #index: RefIndex
  readonly #writes: Writes
  readonly #options: SweepOptions
  readonly #newRecord: () => number
  readonly #dropped = new Set<Blobref>()
  readonly #moved = new Map<Blobref, BlobPlace>()
  /** Live blobs of packs that go. */
  #moving: Blob[] = []
  #movingSize = 0
  #scanned = 0
  #refs = 0
  #count = 0
  #size = 0
  #copies = 0

  constructor(state: {
    readonly records: Table
    readonly index: RefIndex
    readonly writes: Writes
    readonly options: SweepOptions
    readonly newRecord: () => number
  }) {
    this.#records = state.records
    this.#index = state.index
    this.#writes = state.writes
    this.#options = state.options
    this.#newRecord = state.newRecord
  }

  /** Adds the records' writes to the transaction; the index is the caller's. Once. Throws
   *  ECORRUPT. */
  plan(): SweepPlan {
    const { after, until } = this.#options
    const range = { start: packKey(after + 1), end: packKey(until + 1), limit: sweepRefsMax }
    const keys = [...this.#records.keys(range)]
    let next: number | undefined = after
    for (const key of keys) {
      const { record, ref } = parseBlobKey(key)
      if (ref) this.#lookAtBare(key, record, ref)
      else this.#lookAtPack(key, record)
      next = record
      if (this.#scanned >= sweepStepSize || this.#refs >= sweepRefsMax) break
    }
    this.#flush()
    const last = keys.at(-1)
    const looked = !last || parseBlobKey(last).record === next
    if (looked && keys.length < sweepRefsMax) next = undefined
    const freed = { count: this.#count, size: this.#size }
    return {
      swept: { next, scanned: this.#scanned, freed },
      dropped: this.#dropped,
      moved: this.#moved,
      size: this.#size + this.#copies,
    }
  }

  #lookAtBare(key: Buffer, record: number, ref: Blobref): void {
    const size = this.#records.get(key)?.length ?? 0
    this.#refs++
    this.#scanned += size
    const own = this.#index.get(ref)?.record === record
    if (own && this.#isLive(ref, size)) return
    this.#drop(ref, { own, size })
    this.#remove(key)
  }

  #lookAtPack(key: Buffer, record: number): void {
    const bytes = this.#records.get(key)
    if (!bytes) return
    const size = bytes.length
    this.#scanned += size
    const all = packedIn(bytes).map((packed) => {
      const place = this.#index.get(packed.ref) // may overwrite the view that `bytes` is
      const own = place?.record === record && place.offset === packed.offset
      return { ...packed, own, live: own && this.#isLive(packed.ref, packed.length) }
    })
    this.#refs += all.length
    const live = all.filter((packed) => packed.live)
    const liveSize = live.reduce((sum, { length }) => sum + length, 0)
    const dead = all.reduce((sum, { length }) => sum + length, 0) - liveSize
    if (live.length === all.length && all.length > 0) return
    const share = liveSize / Math.max(1, liveSize + dead)
    if (live.length > 0 && share > packLiveShare && !this.#options.thorough) return
    const again = live.length > 0 ? this.#records.get(key) : undefined
    for (const { ref, offset, length } of live) {
      if (!again) continue
      this.#move({ ref, bytes: Buffer.from(again.subarray(offset, offset + length)) })
    }
    for (const { ref, own, length, live: stays } of all)
      if (!stays) this.#drop(ref, { own, size: length })
    this.#remove(key)
  }

  #isLive(ref: Blobref, size: number): boolean {
    return this.#options.live(ref, size) || this.#options.isSpared(ref)
  }

  #drop(ref: Blobref, { own, size }: { readonly own: boolean; readonly size: number }): void {
    if (own) {
      this.#dropped.add(ref)
      this.#count++
      this.#size += size
    } else {
      this.#copies += size
    }
  }

  #move(blob: Blob): void {
    if (this.#movingSize + packedSize(blob) > packRoom) this.#flush()
    this.#moving.push(blob)
    this.#movingSize += packedSize(blob)
  }

  #flush(): void {
    if (this.#moving.length === 0) return
    if (!this.#options.dryRun) {
      const record = this.#newRecord()
      const { bytes, packed } = encodePack(this.#moving)
      this.#writes.put(this.#records, packKey(record), bytes)
      for (const { ref, offset, length } of packed) this.#moved.set(ref, { record, offset, length })
    }
    this.#moving = []
    this.#movingSize = 0
  }

  #remove(key: Buffer): void {
    if (!this.#options.dryRun) this.#writes.remove(this.#records, key)
  }
}
