/** Plans one step of a sweep over the records of blobs. Records without a live blob are removed.
 *  Packs with few live blobs are removed too, and these blobs move
 *  to new packs. See rfc/4, rule 27.
 *  Invariant: it only adds writes to a transaction. A blob that moves is written to its new place
 *  by the transaction that removes the old one. */

import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { type SweepStep, type Swept, sweepRefsMax, sweepStepSize } from './engine.js'
import { encodePack, packedIn, packedSize, packRoom } from './pack.js'
import { type BlobPlace, packKey, parseBlobKey } from './record.js'
import type { RefIndex } from './ref-index.js'
import type { Table, Writes } from './tables.js'

/** The share of live bytes above which a pack stays as it is, unless the step is thorough. */
const packLiveShare = 0.75

/** The changes of a step. */
export type SweepPlan = {
  readonly swept: Swept
  /** The refs that are dropped from the store. */
  readonly dropped: ReadonlySet<Blobref>
  /** The new places of the blobs that move. */
  readonly moved: ReadonlyMap<Blobref, BlobPlace>
  /** The bytes of the blobs that are removed, copies that no index entry names included. */
  readonly size: number
}

/** The options of a step in the durable engine. */
export type SweepOptions = SweepStep & {
  /** The last record to look at. Later ones are newer than the collection. */
  readonly until: number
  readonly isSpared: (ref: Blobref) => boolean
}

/** One step. Mutable; owned by the call that made it. */
export class Sweep {
  readonly #records: Table
  readonly #index: RefIndex
  readonly #writes: Writes
  readonly #options: SweepOptions
  readonly #newRecord: () => number
  readonly #dropped = new Set<Blobref>()
  readonly #moved = new Map<Blobref, BlobPlace>()
  /** The live blobs of removed packs, which the next new pack takes. */
  #moving: Blob[] = []
  #movingSize = 0
  /** The bytes, and the refs, that were looked at. */
  #scanned = 0
  #refs = 0
  /** The number, and the bytes, of the dropped blobs. */
  #count = 0
  #size = 0
  /** The bytes of removed copies, which the index does not name. */
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

  /** Adds the changes of the records to the transaction, and returns them; the caller changes the
   *  index. REQUIRES: called once. Throws ECORRUPT. */
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
      const place = this.#index.get(packed.ref) // may overwrite the buffer of `bytes`
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
