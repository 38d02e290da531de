/** The budget of memory for the bodies of all requests of a server together. See rfc/12, rule 32.
 *  Invariant: no more than `bodiesSizeMax` is taken. The first `bodyFreeSize` bytes of each body
 *  are not counted, so that large bodies that have stalled keep out no small one. A stalled body
 *  loses its memory to a body that moves, and a large one to one of less than half its size: so who
 *  fills the memory keeps out nobody who asks for less (longest queue drop: Aiello, Kesselman,
 *  Mansour, ACM Transactions on Algorithms 5, 2008). */

import { TailraceError } from '../error.js'

/** The largest size of all bodies together, without the free part of each, in bytes. */
export const bodiesSizeMax = 24 * 1024 * 1024
/** The part of each body that is not counted, in bytes. */
export const bodyFreeSize = 64 * 1024
/** The time without a new byte after which a body loses its memory to another body, in ms. */
export const evictedMs = 1_000

/** A body loses its memory to another one if it has more than so many times as much. */
const largerTimes = 2

/** The budget of one server. Mutable; shared by its requests. */
export class BodyBudget {
  readonly #monotonic: () => number
  #taken = 0
  /** The shares that have taken memory, in the order of their last bytes. */
  readonly #shares = new Set<BodyShare>()

  /** `monotonic` returns a time in ms. */
  constructor(monotonic: () => number) {
    this.#monotonic = monotonic
  }

  /** Returns the share of one body. End it, or dispose of it, to give its memory back. */
  begin(): BodyShare {
    return new BodyShare(this)
  }

  /** Takes `size` bytes for a share. Throws EBUSY. */
  take(share: BodyShare, size: number): void {
    this.#shares.delete(share)
    while (this.#taken + size > bodiesSizeMax) this.#makeRoom(share.taken + size)
    this.#taken += size
    share.last = this.#monotonic()
    this.#shares.add(share)
  }

  /** Gives `size` bytes of a share back. */
  giveBack(share: BodyShare, size: number): void {
    this.#shares.delete(share)
    this.#taken -= size
  }

  /** Evicts the body that has been stalled for the longest time, if that is `evictedMs`. Otherwise
   *  evicts the largest body that is much larger than `size`, which the other one will have. Throws
   *  EBUSY if there is no such body. */
  #makeRoom(size: number): void {
    const now = this.#monotonic()
    let largest: BodyShare | undefined
    for (const share of this.#shares) {
      if (now - share.last >= evictedMs && share.evict()) return
      if (share.waits && share.taken > (largest?.taken ?? largerTimes * size)) largest = share
    }
    if (largest?.evict()) return
    const message = 'too many large bodies are on their way: send it again later; nothing was done'
    throw new TailraceError('EBUSY', message)
  }
}

/** The memory of one body. */
export class BodyShare implements Disposable {
  /** The time of its last bytes, in ms of a monotonic clock. The budget writes it. */
  last = 0
  readonly #budget: BodyBudget
  #size = 0
  #taken = 0
  #giveUp: (() => void) | undefined
  #isHeld = false
  #hasEnded = false

  constructor(budget: BodyBudget) {
    this.#budget = budget
  }

  /** The memory that it has, in bytes. */
  get taken(): number {
    return this.#taken
  }

  /** True if it waits for bytes. */
  get waits(): boolean {
    return this.#giveUp !== undefined
  }

  /** Keeps the memory until `work` settles, also if the request ends before: the body, or what was made
   *  of it, is in memory until then. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#isHeld = true
    try {
      return await work()
    } finally {
      this.#isHeld = false
      if (this.#hasEnded) this[Symbol.dispose]()
    }
  }

  /** Gives the memory back, as soon as no work holds it. */
  end(): void {
    this.#hasEnded = true
    if (!this.#isHeld) this[Symbol.dispose]()
  }

  /** Takes memory for a chunk of `size` bytes. Throws EBUSY. */
  add(size: number): void {
    this.#size += size
    this.#take(Math.max(0, this.#size - bodyFreeSize))
  }

  /** Takes memory for a chunk of `size` bytes of a streamed body, which has at most `held` bytes in
   *  memory. Throws EBUSY. */
  addHeld(size: number, held: number): void {
    this.#size = Math.min(this.#size + size, held)
    this.#take(Math.max(0, this.#size - bodyFreeSize))
  }

  /** Sets the function that ends the wait for the next bytes. It is called if another body needs
   *  the memory. Undefined: nobody waits for bytes, and the memory cannot be taken away. */
  whileWaiting(giveUp: (() => void) | undefined): void {
    this.#giveUp = giveUp
  }

  /** Takes the memory away and ends the wait for bytes. Returns false, and does nothing, if nobody
   *  waits for bytes. */
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
