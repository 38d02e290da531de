/** A table with changes that are durable in the journal, but not in the table itself yet. Reads see
 *  both. See rfc/4, rules 16 and 17.
 *  Invariant: a change stays readable until the transaction that brings it into the table is
 *  durable. */

import type { Range, Table, Writes } from './tables.js'

/** Changes in the order of their keys. Keys are byte strings (latin1), which sort as their bytes
 *  do. */
class Layer {
  /** The value of each changed key; undefined where the key was removed. */
  readonly values = new Map<string, Buffer | undefined>()
  /** The changed keys, ascending. */
  readonly keys: string[] = []

  set(key: string, value: Buffer | undefined): void {
    if (!this.values.has(key)) this.keys.splice(this.indexOf(key), 0, key)
    this.values.set(key, value)
  }

  /** Returns the index of the first changed key that is not below `key`. */
  indexOf(key: string): number {
    let [low, high] = [0, this.keys.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.keys[middle] ?? '') < key) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** A table and its pending changes. */
export class PendingTable implements Table {
  readonly #table: Table
  #fresh = new Layer()
  #frozen: Layer | undefined

  constructor(table: Table) {
    this.#table = table
  }

  /** The number of changed keys that are not in the table yet. */
  get waiting(): number {
    return this.#fresh.keys.length + (this.#frozen?.keys.length ?? 0)
  }

  get(key: Uint8Array): Buffer | undefined {
    if (this.waiting === 0) return this.#table.get(key)
    const text = textOf(key)
    for (const layer of [this.#fresh, this.#frozen]) {
      if (layer?.values.has(text)) return layer.values.get(text)
    }
    return this.#table.get(key)
  }

  *keys(range: Range): Iterable<Buffer> {
    if (this.waiting === 0) return yield* this.#table.keys(range)
    const { limit = Number.POSITIVE_INFINITY, ...unlimited } = range
    const order = range.reverse ? -1 : 1
    const sources = [this.#stored(unlimited), ...this.#changed(range)]
    const heads = sources.map((source) => source.next())
    try {
      for (let count = 0; count < limit; ) {
        let first: string | undefined
        for (const { done, value } of heads) {
          if (done) continue
          if (first === undefined || order * compare(value, first) < 0) first = value
        }
        if (first === undefined) return
        for (const [index, { done, value }] of heads.entries()) {
          const source = sources[index]
          if (!done && value === first && source) heads[index] = source.next()
        }
        if (this.#isRemoved(first)) continue
        count++
        yield Buffer.from(first, 'latin1')
      }
    } finally {
      for (const source of sources) source.return(undefined)
    }
  }

  /** Changes a key. REQUIRES: the change is durable in the journal. */
  apply(key: Uint8Array, value: Uint8Array | undefined): void {
    const bytes = value && Buffer.from(value.buffer, value.byteOffset, value.length)
    this.#fresh.set(textOf(key), bytes)
  }

  /** Makes the changes so far those that `thaw` yields. REQUIRES: none are frozen. */
  freeze(): void {
    this.#frozen = this.#fresh
    this.#fresh = new Layer()
  }

  /** Yields functions that each add a frozen change to a transaction. */
  *thaw(): Iterable<(writes: Writes) => void> {
    for (const text of this.#frozen?.keys ?? []) {
      const key = Buffer.from(text, 'latin1')
      const value = this.#frozen?.values.get(text)
      yield (writes) => {
        if (value) writes.put(this.#table, key, value)
        else writes.remove(this.#table, key)
      }
    }
  }

  /** Forgets the frozen changes. REQUIRES: they are durable in the table. */
  release(): void {
    this.#frozen = undefined
  }

  #isRemoved(key: string): boolean {
    for (const layer of [this.#fresh, this.#frozen]) {
      if (layer?.values.has(key)) return layer.values.get(key) === undefined
    }
    return false
  }

  *#stored(range: Range): Generator<string, undefined> {
    for (const key of this.#table.keys(range)) yield textOf(key)
    return undefined
  }

  #changed(range: Range): Generator<string, undefined>[] {
    return [this.#fresh, this.#frozen].flatMap((layer) => (layer ? [changedIn(layer, range)] : []))
  }
}

/** Yields the changed keys of a range. A layer that changes meanwhile does not matter: a range is
 *  read in one turn of the event loop. */
function* changedIn(layer: Layer, { start, end, reverse }: Range): Generator<string, undefined> {
  const { keys } = layer
  if (!reverse) {
    const last = end === undefined ? keys.length : layer.indexOf(textOf(end))
    const from = start === undefined ? 0 : layer.indexOf(textOf(start))
    for (let index = from; index < last; index++) yield keys[index] ?? ''
    return undefined
  }
  // From `start`, included, down to `end`, excluded.
  const from = start === undefined ? keys.length : layer.indexOf(`${textOf(start)}\0`)
  const last = end === undefined ? 0 : layer.indexOf(`${textOf(end)}\0`)
  for (let index = from - 1; index >= last; index--) yield keys[index] ?? ''
  return undefined
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
