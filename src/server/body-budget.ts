/** Memory for the bodies that are on their way to a server, of all requests together. See rfc/12, rule 32.
 *  Invariant: no more than `bodiesSizeMax` is taken. The first `bodyFreeSize` bytes of each body are not
 *  counted, so that large bodies which stand still keep no small one out. */

import { TailraceError } from '../error.js'

/** Bytes of all bodies together, but for the free part of each. */
export const bodiesSizeMax = 64 * 1024 * 1024
export const bodyFreeSize = 64 * 1024

export class BodyBudget {
  #taken = 0

  /** For one body that is read whole; give it back by disposing of it. */
  begin(): BodyShare {
    return new BodyShare(this)
  }

  /** Throws EBUSY. */
  take(size: number): void {
    if (this.#taken + size > bodiesSizeMax) {
      const message =
        'too many large bodies are on their way: send it again later; nothing was done'
      throw new TailraceError('EBUSY', message)
    }
    this.#taken += size
  }

  giveBack(size: number): void {
    this.#taken -= size
  }
}

export class BodyShare implements Disposable {
  readonly #budget: BodyBudget
  #size = 0
  #taken = 0

  constructor(budget: BodyBudget) {
    this.#budget = budget
  }

  /** A chunk has come. Throws EBUSY. */
  add(size: number): void {
    this.#size += size
    const counted = Math.max(0, this.#size - bodyFreeSize)
    this.#budget.take(counted - this.#taken)
    this.#taken = counted
  }

  [Symbol.dispose](): void {
    this.#budget.giveBack(this.#taken)
    this.#taken = 0
  }
}
