/** First in, first out, in constant time however many wait. Bounded by its user. */

/** Below this many the taken places are not worth moving the rest for. */
const compactMin = 64

export class Fifo<T> {
  #items: T[] = []
  #head = 0

  get length(): number {
    return this.#items.length - this.#head
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

  /** Also lets go of what was taken. */
  #compact(): void {
    this.#items = this.#items.slice(this.#head)
    this.#head = 0
  }
}
