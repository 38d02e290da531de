/** The inputs that a worker has, as its scheduler counts them. See rfc/25, rule 5.
 *  Invariant: the worker has exactly what is counted here, and what calls in hand have taken. The
 *  scheduler alone decides what is dropped, least recently used first. */

/** The inputs. Mutable; owned by the member of a pool. */
export class InputMemory {
  readonly #sizeMax: number
  /** Sizes by keys, least recently used first. */
  readonly #sizes = new Map<string, number>()
  #size = 0

  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax
  }

  /** True if the worker has the input. */
  has(key: string): boolean {
    return this.#sizes.has(key)
  }

  /** Counts inputs that are sent, and the use of those of a call. Returns the keys of those that the
   *  worker is to drop. */
  keep(
    used: readonly string[],
    sent: readonly { readonly key: string; readonly size: number }[],
  ): readonly string[] {
    for (const { key, size } of sent) {
      this.#sizes.set(key, size)
      this.#size += size
    }
    for (const key of used) {
      const size = this.#sizes.get(key)
      if (size === undefined) continue
      this.#sizes.delete(key)
      this.#sizes.set(key, size)
    }
    const dropped: string[] = []
    for (const [key, size] of this.#sizes) {
      if (this.#size <= this.#sizeMax) break
      this.#sizes.delete(key)
      this.#size -= size
      dropped.push(key)
    }
    return dropped
  }
}
