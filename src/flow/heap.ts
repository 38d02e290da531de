/** A binary heap: a queue that gives first the item that is before all others.
 *  Invariant: no item is before its parent. */

/** The heap. Mutable; owned by its maker. */
export class Heap<T> {
  readonly #isBefore: (a: T, b: T) => boolean
  readonly #items: T[] = []

  /** REQUIRES: `isBefore` is a strict order, which does not change while items are in the heap. */
  constructor(isBefore: (a: T, b: T) => boolean) {
    this.#isBefore = isBefore
  }

  /** The first item; undefined if there is none. */
  get first(): T | undefined {
    return this.#items[0]
  }

  /** Adds an item. */
  push(item: T): void {
    const items = this.#items
    let at = items.length
    while (at > 0) {
      const above = (at - 1) >> 1
      const parent = items[above] as T
      if (!this.#isBefore(item, parent)) break
      items[at] = parent
      at = above
    }
    items[at] = item
  }

  /** Takes the first item; undefined if there is none. */
  take(): T | undefined {
    const items = this.#items
    const first = items[0]
    const last = items.pop()
    if (items.length > 0) this.#sink(last as T)
    return first
  }

  /** Puts an item into the free place at the top, or below it, where nothing below is before it. */
  #sink(item: T): void {
    const items = this.#items
    const end = items.length
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      if (below >= end) break
      if (below + 1 < end && this.#isBefore(items[below + 1] as T, items[below] as T)) below++
      const child = items[below] as T
      if (!this.#isBefore(child, item)) break
      items[at] = child
      at = below
    }
    items[at] = item
  }
}
