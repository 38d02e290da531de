/** A cache with a bound in bytes, which drops the least recently used entry first. The only import
 *  of lru-cache. See rfc/3, rule 11. */

import { LRUCache } from 'lru-cache'

/** The memory of an entry besides its own bytes (key, list, map), in bytes. */
export const entryCost = 256

/** The cache, for at most `sizeMax` bytes. */
export class ByteCache<Key extends string, Value extends object> {
  readonly #entries: LRUCache<Key, Value>

  constructor(sizeMax: number) {
    this.#entries = new LRUCache({ maxSize: sizeMax })
  }

  /** The bytes of all entries, entry costs included. */
  get size(): number {
    return this.#entries.calculatedSize
  }

  /** Returns an entry, and makes it the most recently used one. */
  get(key: Key): Value | undefined {
    return this.#entries.get(key)
  }

  delete(key: Key): void {
    this.#entries.delete(key)
  }

  /** Keeps a value; `size` is in bytes. A value that is larger than the whole cache is not kept. */
  set(key: Key, value: Value, size: number): void {
    this.#entries.set(key, value, { size: size + entryCost })
  }
}
