/** Memory for the bodies that are on their way to a server, of all requests together. See rfc/12, rule 32.
 *  Invariant: no more than `bodiesSizeMax` is taken. The first `bodyFreeSize` bytes of each body are not
 *  counted, so that large bodies which stand still keep no small one out; and one that stands still makes room for
 *  those that move. */

import { TailraceError } from '../error.js'

/** Bytes of all bodies together, but for the free part of each. */
export const bodiesSizeMax = 48 * 1024 * 1024
export const bodyFreeSize = 64 * 1024
/** A body of which nothing came for so long is given up where another one needs its memory. */
export const evictedMs = 1_000

export class BodyBudget {
  readonly #monotonic: () => number
  #taken = 0
  /** The shares that have taken something, in the order of their last bytes. */
  readonly #shares = new Set<BodyShare>()

  /** `monotonic`: ms. */
  constructor(monotonic: () => number) {
    this.#monotonic = monotonic
  }

  /** For one body; give it back by disposing of it. */
  begin(): BodyShare {
    return new BodyShare(this)
  }

  /** Throws EBUSY. */
  take(share: BodyShare, size: number): void {
    this.#shares.delete(share)
    while (this.#taken + size > bodiesSizeMax) this.#makeRoom()
    this.#taken += size
    share.last = this.#monotonic()
    this.#shares.add(share)
  }

  giveBack(share: BodyShare, size: number): void {
    this.#shares.delete(share)
    this.#taken -= size
  }

  /** Gives up the body that stands still for longest. Throws EBUSY. */
  #makeRoom(): void {
    const now = this.#monotonic()
    for (const share of this.#shares) {
      if (now - share.last < evictedMs) break
      if (share.evict()) return
    }
    const message = 'too many large bodies are on their way: send it again later; nothing was done'
    throw new TailraceError('EBUSY', message)
  }
}

export class BodyShare implements Disposable {
  /** When its last bytes came; ms of a monotonic clock. Written by the budget. */
  last = 0
  readonly #budget: BodyBudget
  #size = 0
  #taken = 0
  #giveUp: (() => void) | undefined

  constructor(budget: BodyBudget) {
    this.#budget = budget
  }

  /** A chunk has come. Throws EBUSY. */
  add(size: number): void {
    this.#size += size
    this.#take(Math.max(0, this.#size - bodyFreeSize))
  }

  /** A chunk has come of a body of which at most `held` bytes are in memory. Throws EBUSY. */
  addHeld(size: number, held: number): void {
    this.#size = Math.min(this.#size + size, held)
    this.#take(Math.max(0, this.#size - bodyFreeSize))
  }

  /** While the next bytes are waited for: how to end that where another body needs the memory. */
  whileWaiting(giveUp: (() => void) | undefined): void {
    this.#giveUp = giveUp
  }

  /** False where it does not wait for bytes. */
  evict(): boolean {
    const giveUp = this.#giveUp
    if (!giveUp) return false
    this.#giveUp = undefined
    this[Symbol.dispose]()
    giveUp()
    return true
  }

  #take(counted: number): void {
    this.#budget.take(this, counted - this.#taken)
    this.#taken = counted
  }

  [Symbol.dispose](): void {
    this.#budget.giveBack(this, this.#taken)
    this.#taken = 0
    this.#size = 0
  }
}
