/** The index from refs to places. It follows the journal: new entries stay in memory until there are
 *  many, then transactions of the index's own bring them to the table in slices of neighbours. See
 *  rfc/4, rule 17.
 *  Invariant: every record up to the stored watermark is in the table. Entries above it are rebuilt
 *  from the journal when the store is opened, so that a crash loses none. */

import { LoopSlice } from '../base/loop-slice.js'
import { type Blobref, blobrefAt, firstByteOf } from '../blob/blobref.js'
import type { Place } from '../journal/place.js'
import { encodePlace, indexKey, parsePlace } from './record.js'
import type { Table, Writes } from './tables.js'

/** The number of shards, one for each first byte of a digest. A shard's keys are neighbours in the
 *  table. */
const shardCount = 256

/** Places by ref; null for a ref that was dropped. */
type Shards = readonly Map<Blobref, Place | null>[]

/** The index of the durable engine. */
export class RefIndex {
  readonly #table: Table
  #fresh: Shards = newShards()
  #freshCount = 0
  #frozen: Shards | undefined
  #frozenCount = 0

  constructor(table: Table) {
    this.#table = table
  }

  /** The number of entries that are in memory only. */
  get waiting(): number {
    return this.#freshCount + this.#frozenCount
  }

  /** Returns the place of a ref, undefined where it is not stored. Throws ECORRUPT, EIO. */
  get(ref: Blobref): Place | undefined {
    const shard = firstByteOf(ref)
    let waiting = this.#fresh[shard]?.get(ref)
    if (waiting === undefined) waiting = this.#frozen?.[shard]?.get(ref)
    if (waiting !== undefined) return waiting ?? undefined
    const stored = this.#table.get(indexKey(ref))
    return stored && parsePlace(stored)
  }

  /** Gives a ref a place; null drops it. REQUIRES: the record that says so is durable. */
  set(ref: Blobref, place: Place | null): void {
    const shard = this.#fresh[firstByteOf(ref)]
    if (!shard) return
    if (!shard.has(ref)) this.#freshCount++
    shard.set(ref, place)
  }

  /** Makes the entries so far those that `thaw` yields. REQUIRES: none are frozen. */
  freeze(): void {
    this.#frozen = this.#fresh
    this.#frozenCount = this.#freshCount
    this.#fresh = newShards()
    this.#freshCount = 0
  }

  /** Yields functions that each add a frozen entry to a transaction, in the order of the table. */
  *thaw(): Iterable<(writes: Writes) => void> {
    for (const shard of this.#frozen ?? []) {
      for (const [ref, place] of [...shard].sort(byRef)) {
        yield (writes) => {
          if (place) writes.put(this.#table, indexKey(ref), encodePlace(place))
          else writes.remove(this.#table, indexKey(ref))
        }
      }
    }
  }

  /** Forgets the frozen entries. REQUIRES: they are durable in the table. */
  release(): void {
    this.#frozen = undefined
    this.#frozenCount = 0
  }
}

/** The number of rows that are read at a time. */
const pageRows = 1_024

/** Yields all that the table of the index has, a page at a time, in slices of the event loop. Throws
 *  ECORRUPT, EIO. */
export async function* placesIn(
  index: Table,
): AsyncGenerator<readonly { readonly ref: Blobref; readonly place: Place }[], void, undefined> {
  const slice = new LoopSlice({ urgent: true })
  for (let start: Buffer | undefined; ; ) {
    const keys = [...index.keys({ limit: pageRows, ...(start ? { start } : {}) })].map((key) =>
      Buffer.from(key),
    )
    const last = keys.at(-1)
    if (!last) return
    yield keys.flatMap((key) => {
      const value = index.get(key)
      return value ? [{ ref: blobrefAt(key, 0), place: parsePlace(value) }] : []
    })
    start = Buffer.concat([last, Buffer.of(0)])
    if (slice.over) await slice.turn()
  }
}

function newShards(): Shards {
  return Array.from({ length: shardCount }, () => new Map<Blobref, Place | null>())
}

function byRef<T>(a: readonly [Blobref, T], b: readonly [Blobref, T]): number {
  return a[0] < b[0] ? -1 : 1
}
