/** The waits for seqs of a namespace. See rfc/6, rule 21.
 *  Invariant: a root that moves wakes those who wait for a seq that it has reached, and costs
 *  nothing for those who wait for a later one. */

import { Wakeup } from '../base/wakeup.js'

type Waiting = { readonly wakeup: Wakeup; count: number }

/** The waits of one namespace, by seq. */
export class SeqWaits {
  readonly #bySeq = new Map<number, Waiting>()

  /** Resolves when `seq` is reached, or at `wakeAll`. Throws ECANCELED. */
  async wait(seq: number, signal: AbortSignal | undefined): Promise<void> {
    const waiting = this.#bySeq.get(seq) ?? { wakeup: new Wakeup(), count: 0 }
    this.#bySeq.set(seq, waiting)
    waiting.count++
    try {
      await waiting.wakeup.wait(waiting.wakeup.count, signal)
    } finally {
      waiting.count--
      if (waiting.count === 0 && this.#bySeq.get(seq) === waiting) this.#bySeq.delete(seq)
    }
  }

  /** Wakes the waits for the seqs above `before`, up to `now`. */
  reached(before: number, now: number): void {
    // Walks the shorter of two lists: the seqs that are waited for, or the seqs in between.
    if (this.#bySeq.size < now - before) {
      for (const seq of [...this.#bySeq.keys()]) if (seq <= now) this.#wake(seq)
      return
    }
    for (let seq = before + 1; seq <= now; seq++) this.#wake(seq)
  }

  /** Wakes all waits. */
  wakeAll(): void {
    for (const seq of [...this.#bySeq.keys()]) this.#wake(seq)
  }

  #wake(seq: number): void {
    const waiting = this.#bySeq.get(seq)
    this.#bySeq.delete(seq)
    waiting?.wakeup.wake()
  }
}
