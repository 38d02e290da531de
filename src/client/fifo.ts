/** A queue, first in, first out, with constant amortized time for `add` and `take`. Its user bounds
 *  its length. */

/** The number of taken places from which the array is compacted. */
const compactMin = 64

export class Fifo<T> {
  #items: T[] = []
  #head = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  /** The item that `take` returns next. */
  get first(): T | undefined {
    return this.#items[this.#head]
  }

  add(item: T): void {
    this.#items.push(item)
  }

  take(): T | undefined {
    if (this.#head === this.#items.length) return undefined
    const item = this.#items[this.#head]
    this.#head++
    if (this.#head === this.#items.length) this.clear()
    else if (this.#head >= compactMin && this.#head * 2 >= this.#items.length) this.#compact()
    return item
  }

  clear(): void {
    this.#items = []
    this.#head = 0
  }

  /** Drops the taken places of the array, and so the items in them. */
  #compact(): void {
    this.#items = this.#items.slice(this.#head)
    this.#head = 0
  }
}
