/** The index from refs to places, written behind: new entries stay in memory until there are many,
 *  then they reach the table in slices of neighbours that ride along with commits. See rfc/4.
 *  Invariant: every record up to the stored watermark is in the table; what is above it is rebuilt
 *  from the records themselves when the store opens, so nothing here is lost by a crash. */

import { corrupt, isCount } from '../base/stored.js'
import type { Blobref } from '../blob/blobref.js'
import { decode, encode } from '../blob/codec.js'
import { type BlobPlace, encodePlace, indexKey, parsePlace } from './record.js'
import type { Table, Writes } from './tables.js'

/** Entries in memory before they are written out; at most 1.25 times as many wait at a time. */
export const indexFlushCount = 32_768
/** A commit carries at least this many waiting entries, or this many times those that it adds. */
const sliceMin = 64
const slicePerAdded = 4
/** One shard for each first byte of a digest: a slice is whole shards, so its keys are
 *  neighbours. */
const shardCount = 256

type Shards = readonly Map<Blobref, BlobPlace>[]
/** Entries on their way to the table: the shards before `next` are durable there. */
type Frozen = { readonly shards: Shards; readonly watermark: number; next: number }

const watermarkKey = Buffer.from('watermark')

export class RefIndex {
  readonly #table: Table
  readonly #meta: Table
  readonly #flushCount: number
  /** Entries since the last freeze. */
  #fresh: Shards = newShards()
  #freshCount = 0
  #frozen: Frozen | undefined

  constructor(table: Table, meta: Table, flushCount = indexFlushCount) {
    this.#table = table
    this.#meta = meta
    this.#flushCount = flushCount
  }

  /** The last record of which the table knows every blob; 0 where there is none. */
  watermark(): number {
    const stored = this.#meta.get(watermarkKey)
    const value = stored ? decode(stored) : 0
    if (!isCount(value)) throw corrupt('a stored watermark')
    return value
  }

  /** Entries that are in memory only. */
  get waiting(): number {
    const frozen = this.#frozen?.shards.slice(this.#frozen.next) ?? []
    return frozen.reduce((sum, shard) => sum + shard.size, this.#freshCount)
  }

  get(ref: Blobref): BlobPlace | undefined {
    const shard = shardOf(ref)
    const waiting = this.#fresh[shard]?.get(ref) ?? this.#frozen?.shards[shard]?.get(ref)
    if (waiting) return waiting
    const stored = this.#table.get(indexKey(ref))
    return stored && parsePlace(stored)
  }

  /** REQUIRES: the record is durable. */
  add(ref: Blobref, place: BlobPlace): void {
    const shard = this.#fresh[shardOf(ref)]
    if (!shard || shard.has(ref)) return
    shard.set(ref, place)
    this.#freshCount++
  }

  /** Puts refs to other places, or (undefined) out of the index, in the table and, once the result
   *  is called, in memory. REQUIRES: `ride` has added its slice to the transaction, which may hold
   *  what they were before. */
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

  /** Adds a slice of waiting entries to a transaction that adds `added` new ones; call the result
   *  once it is durable. REQUIRES: no other transaction is under way, and every record up to
   *  `lastRecord` is durable and added here, or will never be. */
  ride(writes: Writes, added: number, lastRecord: number): () => void {
    if (!this.#frozen && this.#freshCount >= this.#flushCount) this.#freeze(lastRecord)
    return this.#slice(writes, Math.max(sliceMin, slicePerAdded * added))
  }

  /** The same for a store that closes: at least `count` entries, until nothing waits. */
  drain(writes: Writes, count: number, lastRecord: number): () => void {
    if (!this.#frozen && this.#freshCount > 0) this.#freeze(lastRecord)
    return this.#slice(writes, count)
  }

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
    // All shards before these are durable already, because transactions follow one another.
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
