/** The ordered tables under the durable engine, from bytes to bytes, changed together or not at
 *  all. `lmdb.ts` implements them. See rfc/4, rule 13.
 *  Invariant: a reader sees a write only when all of its transaction is durable. */

/** A table. Its keys sort as bytes; a value is never empty. */
export interface Table {
  /** Returns a view that is valid until the next `get` of any table: copy what must last. Throws
   *  ECORRUPT, EIO. */
  get(key: Uint8Array): Buffer | undefined
  /** Lists the keys from `start` on (with `reverse`: from `start` down) before `end`. Iterate in
   *  the same turn of the event loop. Throws ECORRUPT, EIO. */
  keys(range: Range): Iterable<Buffer>
}

/** A range of keys. REQUIRES: with `reverse`, both `start` and `end`: the library leaves keys out
 *  otherwise that begin with a NUL. */
export type Range = {
  readonly start?: Uint8Array
  readonly end?: Uint8Array
  readonly reverse?: boolean
  readonly limit?: number
}

/** One change of a table. */
type Write = {
  readonly table: Table
  readonly key: Uint8Array
  /** The new value; undefined removes the key. REQUIRES: nobody writes to these bytes again. */
  readonly value: Uint8Array | undefined
}

/** The writes of one transaction, collected before the first one is done. */
export class Writes {
  readonly #list: Write[] = []
  #size = 0

  /** Adds a change of a key's value. */
  put(table: Table, key: Uint8Array, value: Uint8Array): void {
    this.#list.push({ table, key, value })
    this.#size += key.length + value.length
  }

  /** Adds the removal of a key. */
  remove(table: Table, key: Uint8Array): void {
    this.#list.push({ table, key, value: undefined })
    this.#size += key.length
  }

  /** The changes in the order in which they are done. */
  get list(): readonly Write[] {
    return this.#list
  }

  /** The number of bytes of all keys and values. */
  get size(): number {
    return this.#size
  }
}

/** The tables of a store. */
export interface Tables {
  readonly index: Table
  readonly segments: Table
  readonly roots: Table
  readonly namespaces: Table
  readonly meta: Table

  /** Runs one durable transaction. Rejects where it was not stored, or where that is not known. */
  write(writes: Writes): Promise<void>
  /** Returns true if a transaction can be begun; false after a failure that the store
   *  itself cannot undo. */
  writable(): boolean
  close(): Promise<void>
}
