/** What the durable engine needs of an ordered store: tables from bytes to bytes, changed together
 *  or not at all. See rfc/4. `lmdb.ts` implements it.
 *  Invariant: a reader sees a write only when all of its transaction is durable. */

/** Keys sort as bytes. A value is never empty. */
export interface Table {
  /** A view that is valid until the next `get` of any table: copy what must last. */
  get(key: Uint8Array): Buffer | undefined
  /** Keys from `start` on (reverse: from `start` down), before `end`. Iterate at once. */
  keys(range: Range): Iterable<Buffer>
}

export type Range = {
  readonly start?: Uint8Array
  readonly end?: Uint8Array
  readonly reverse?: boolean
  readonly limit?: number
}

export type Write = {
  readonly table: Table
  readonly key: Uint8Array
  /** Undefined: remove the key. Never written again once it is here. */
  readonly value: Uint8Array | undefined
}

/** The writes of one transaction, collected before anything is touched. */
export class Writes {
  readonly #list: Write[] = []
  #size = 0

  put(table: Table, key: Uint8Array, value: Uint8Array): void {
    this.#list.push({ table, key, value })
    this.#size += key.length + value.length
  }

  remove(table: Table, key: Uint8Array): void {
    this.#list.push({ table, key, value: undefined })
    this.#size += key.length
  }

  get list(): readonly Write[] {
    return this.#list
  }

  /** Bytes of keys and values. */
  get size(): number {
    return this.#size
  }
}

export interface Tables {
  readonly blobs: Table
  readonly index: Table
  readonly roots: Table
  readonly namespaces: Table
  readonly meta: Table
  /** Rows that take up free pages while these are written over. */
  readonly fill: Table
  readonly pageSize: number
  /** Pages that the file has had in use so far: it grows only where no free one is left. */
  readonly pages: number
  /** Pages among them that the next transaction can write to. */
  readonly freePages: number

  /** One durable transaction. Rejects where it was not stored, or is not known to be. */
  write(writes: Writes): Promise<void>
  /** Whether a transaction can be begun: false after a failure that the store itself cannot
   *  undo. */
  writable(): boolean
  close(): Promise<void>
}
