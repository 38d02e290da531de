/** A cache bounded in bytes; the least recently used goes first. The only import of lru-cache. See
 *  rfc/3. */

import { LRUCache } from 'lru-cache'

/** What an entry costs besides its own bytes: the key, the list, the map. */
export const entryCost = 256

export class ByteCache<Key extends string, Value extends object> {
  readonly #entries: LRUCache<Key, Value>

  constructor(sizeMax: number) {
    this.#entries = new LRUCache({ maxSize: sizeMax })
  }

  /** Bytes held, entry costs included. */
  get size(): number {
    return this.#entries.calculatedSize
  }

  /** Also makes the entry the last to go. */
  get(key: Key): Value | undefined {
    return this.#entries.get(key)
  }

  delete(key: Key): void {
    this.#entries.delete(key)
  }

  /** `size` is in bytes. A value larger than the whole cache is not kept. */
  set(key: Key, value: Value, size: number): void {
    this.#entries.set(key, value, { size: size + entryCost })
  }
}
