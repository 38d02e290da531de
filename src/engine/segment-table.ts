/** The table of the segments of the journal: of each one the bytes of the blobs that the index finds
 *  in it. See rfc/4, rule 18.
 *  Invariant: the numbers are exact while the engine is open. After a crash in the middle of a flush
 *  they may be off until the next collection, which counts again. They only choose what a collection
 *  looks at closer. */

import { corrupt, isCount } from '../base/stored.js'
import { decode, encode } from '../blob/codec.js'
import { parseUint64, uint64 } from './record.js'
import type { Table, Writes } from './tables.js'

/** The segments of one engine. */
export class SegmentTable {
  readonly #table: Table
  /** The bytes of the blobs in each segment that the index finds there. */
  readonly #live = new Map<number, number>()
  /** The segments whose row is not what `#live` says. */
  #changed = new Set<number>()
  #frozen: ReadonlyMap<number, number | undefined> = new Map()
  #stored = 0

  constructor(table: Table) {
    this.#table = table
  }

  /** Reads the table. REQUIRES: called once, first. Throws ECORRUPT. */
  rebuild(): void {
    for (const key of [...this.#table.keys({})]) {
      const value = this.#table.get(key)
      const live = value && decode(value)
      if (!isCount(live)) throw corrupt('a stored row of a segment')
      this.#live.set(parseUint64(key, 0), live)
      this.#stored += live
    }
  }

  /** The number of rows that the table does not have yet. */
  get waiting(): number {
    return this.#changed.size + this.#frozen.size
  }

  /** The bytes of all blobs that the index finds. */
  get stored(): number {
    return this.#stored
  }

  /** The ids of the segments, ascending. */
  get ids(): number[] {
    return [...this.#live.keys()].sort((a, b) => a - b)
  }

  /** True if the segment is known. */
  has(id: number): boolean {
    return this.#live.has(id)
  }

  /** Returns the bytes of the blobs in a segment that the index finds there. */
  live(id: number): number {
    return this.#live.get(id) ?? 0
  }

  /** Adds bytes to a segment; a negative number takes them away. */
  add(id: number, size: number): void {
    this.set(id, this.live(id) + size)
  }

  /** Sets the bytes of a segment. */
  set(id: number, size: number): void {
    const before = this.live(id)
    const after = Math.max(0, size)
    if (after === before && this.#live.has(id)) return
    this.#live.set(id, after)
    this.#stored += after - before
    this.#changed.add(id)
  }

  /** Removes a segment. */
  remove(id: number): void {
    this.#stored -= this.live(id)
    this.#live.delete(id)
    this.#changed.add(id)
  }

  /** Makes the numbers of now those that `thaw` yields. */
  freeze(): void {
    this.#frozen = new Map([...this.#changed].map((id) => [id, this.#live.get(id)]))
    this.#changed = new Set()
  }

  /** Yields functions that each add a changed row to a transaction. */
  *thaw(): Iterable<(writes: Writes) => void> {
    for (const [id, live] of this.#frozen) {
      yield (writes) => {
        if (live === undefined) writes.remove(this.#table, uint64(id))
        else writes.put(this.#table, uint64(id), encode(live))
      }
    }
  }

  /** Forgets what was frozen. */
  release(): void {
    this.#frozen = new Map()
  }
}
