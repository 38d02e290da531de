/** The index from refs to places. It is written behind: new entries stay in memory until there are
 *  many, then transactions of commits carry them to the table in slices of neighbours. See rfc/4,
 *  rule 17.
 *  Invariant: every record up to the stored watermark is in the table. Entries above it are rebuilt
 *  from the records when the store is opened, so that a crash loses none. */

import { corrupt, isCount } from '../base/stored.js'
import type { Blobref } from '../blob/blobref.js'
import { decode, encode } from '../blob/codec.js'
import { type BlobPlace, encodePlace, indexKey, parsePlace } from './record.js'
import type { Table, Writes } from './tables.js'

/** The number of entries in memory from which on they are written to the table. At most 1.25 times
 *  as many wait at a time. */
export const indexFlushCount = 32_768
/** The least number of waiting entries that a commit carries. */
const sliceMin = 64
/** The least number of waiting entries that a commit carries for each entry that it adds. */
const slicePerAdded = 4
/** The number of shards, one for each first byte of a digest. A slice is whole shards, so that its
 *  keys are neighbours in the table. */
const shardCount = 256

type Shards = readonly Map<Blobref, BlobPlace>[]
/** Entries on their way to the table. The shards before `next` are durable there. */
type Frozen = { readonly shards: Shards; readonly watermark: number; next: number }

const watermarkKey = Buffer.from('watermark')

/** The index of the durable engine. */
export class RefIndex {
  readonly #table: Table
  readonly #meta: Table
  readonly #flushCount: number
  /** The entries that were added since the last freeze. */
  #fresh: Shards = newShards()
  #freshCount = 0
  #frozen: Frozen | undefined

  constructor(table: Table, meta: Table, flushCount = indexFlushCount) {
    this.#table = table
    this.#meta = meta
    this.#flushCount = flushCount
  }

  /** Reads the watermark: the last record up to which the table has every blob; 0 where there is
   *  none. Throws ECORRUPT. */
  watermark(): number {
    const stored = this.#meta.get(watermarkKey)
    const value = stored ? decode(stored) : 0
    if (!isCount(value)) throw corrupt('a stored watermark')
    return value
  }

  /** The number of entries that are in memory only. */
  get waiting(): number {
    const frozen = this.#frozen?.shards.slice(this.#frozen.next) ?? []
    return frozen.reduce((sum, shard) => sum + shard.size, this.#freshCount)
  }

  /** Returns the place of a ref, undefined where it is not stored. Throws ECORRUPT, EIO. */
  get(ref: Blobref): BlobPlace | undefined {
    const shard = shardOf(ref)
    const waiting = this.#fresh[shard]?.get(ref) ?? this.#frozen?.shards[shard]?.get(ref)
    if (waiting) return waiting
    const stored = this.#table.get(indexKey(ref))
    return stored && parsePlace(stored)
  }

  /** Adds an entry in memory. REQUIRES: the record is durable. */
  add(ref: Blobref, place: BlobPlace): void {
    const shard = this.#fresh[shardOf(ref)]
    if (!shard || shard.has(ref)) return
    shard.set(ref, place)
    this.#freshCount++
  }

  /** Gives refs other places, or removes them (undefined): adds this to a transaction for the
   *  table; the result, called once that is durable, does it in memory. REQUIRES: `ride` has added
   *  its slice to the transaction before, since the slice may hold older places. */
  replace(writes: Writes, places: Iterable<readonly [Blobref, BlobPlace | undefined]>): () => void {
    const refs: Blobref[] = []
    for (const [ref, place] of places) {
      refs.push(ref)
      if (place) writes.put(this.#table, indexKey(ref), encodePlace(place))
      else writes.remove(this.#table, indexKey(ref))
    }
    return () => {
      for (const ref of refs) {
        const shard = shardOf(ref)
        if (this.#fresh[shard]?.delete(ref)) this.#freshCount--
        this.#frozen?.shards[shard]?.delete(ref)
      }
    }
  }

  /** Adds a slice of waiting entries to a transaction that adds `added` new ones. Call the result
   *  once it is durable. REQUIRES: no other transaction is under way. Every record up to
   *  `lastRecord` is durable and added here, or will never be durable. */
  ride(writes: Writes, added: number, lastRecord: number): () => void {
    if (!this.#frozen && this.#freshCount >= this.#flushCount) this.#freeze(lastRecord)
    return this.#slice(writes, Math.max(sliceMin, slicePerAdded * added))
  }

  /** Adds at least `count` waiting entries to a transaction of a store that closes, fewer if fewer
   *  wait. Call the result once it is durable. */
  drain(writes: Writes, count: number, lastRecord: number): () => void {
    if (!this.#frozen && this.#freshCount > 0) this.#freeze(lastRecord)
    return this.#slice(writes, count)
  }

  /** Makes the fresh entries the ones that slices are taken from. */
  #freeze(watermark: number): void {
    this.#frozen = { shards: this.#fresh, watermark, next: 0 }
    this.#fresh = newShards()
    this.#freshCount = 0
  }

  #slice(writes: Writes, count: number): () => void {
    const frozen = this.#frozen
    if (!frozen) return () => {}
    let next = frozen.next
    for (let sliced = 0; sliced < count && next < shardCount; next++) {
      const entries = [...(frozen.shards[next] ?? [])].sort(byRef)
      for (const [ref, place] of entries) writes.put(this.#table, indexKey(ref), encodePlace(place))
      sliced += entries.length
    }
    // The shards before these are durable already, since transactions follow one another.
    if (next === shardCount) writes.put(this.#meta, watermarkKey, encode(frozen.watermark))
    return () => {
      frozen.next = next
      if (next === shardCount) this.#frozen = undefined
    }
  }
}

function newShards(): Shards {
  return Array.from({ length: shardCount }, () => new Map<Blobref, BlobPlace>())
}

function shardOf(ref: Blobref): number {
  return Number.parseInt(ref.slice(7, 9), 16) // after "blake3-"
}

function byRef(a: readonly [Blobref, BlobPlace], b: readonly [Blobref, BlobPlace]): number {
  return a[0] < b[0] ? -1 : 1
}
