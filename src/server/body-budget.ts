/** The budget of memory for the bodies of all requests of a server together. See rfc/12, rule 32.
 *  Invariant: no more than `bodiesSizeMax` is taken. The first `bodyFreeSize` bytes of each body
 *  are not counted, so that large bodies that have stalled keep out no small one. A stalled body
 *  loses its memory to a body that moves, and a large one to one of less than half its size: so who
 *  fills the memory keeps out nobody who asks for less (longest queue drop: Aiello, Kesselman,
 *  Mansour, ACM Transactions on Algorithms 5, 2008). */

import { LightSignal } from '../base/abort.js'
import { startTimer } from '../base/timer.js'
import { Wakeup } from '../base/wakeup.js'
import { TailraceError } from '../error.js'

/** The largest size of all bodies together, without the free part of each, in bytes. */
export const bodiesSizeMax = 20 * 1024 * 1024
/** The part of each body that is not counted, in bytes. */
export const bodyFreeSize = 16 * 1024
/** The time without a new byte after which a body loses its memory to another body, in ms. */
export const evictedMs = 500
/** The longest time that a body waits for memory, in ms: those that have it have stalled by then, or are
 *  whole. */
const roomMsMax = 2_000
/** The largest number of bodies that wait for memory; one more is refused at once. */
export const roomWaitersMax = 64

/** A body loses its memory to another one if it has more than so many times as much. */
const largerTimes = 2

/** The budget of one server. Mutable; shared by its requests. */
export class BodyBudget {
  readonly #monotonic: () => number
  #taken = 0
  /** The shares that have taken memory, in the order of their last bytes. */
  readonly #shares = new Set<BodyShare>()
  /** Wakes those that wait for memory when some was given back, or a body has stalled. */
  readonly #room = new Wakeup()
  /** The bodies that wait for memory, and what they have of it. */
  #waiting = 0
  #heldByWaiting = 0

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
    if (!this.#tryTake(share, size)) throw busy()
  }

  /** Takes `size` bytes for a share. If there is no memory, it waits until others have given some back
   *  or have stalled, for `roomMsMax` at most. Throws EBUSY. */
  async takeSoon(share: BodyShare, size: number): Promise<void> {
    const { taken } = share
    // Who has some goes on; who has none waits behind those that wait.
    if ((taken > 0 || this.#waiting === 0) && this.#tryTake(share, size)) return
    // Bodies that wait for each other would all be late.
    const isOthers = this.#taken - taken > this.#heldByWaiting
    if (this.#waiting >= roomWaitersMax || !isOthers) throw busy()
    this.#waiting++
    this.#heldByWaiting += taken
    const late = new LightSignal()
    const stopTimer = startTimer(roomMsMax, () => late.abort())
    try {
      for (;;) {
        const stopAlarm = startTimer(this.#untilStalled(), () => this.#room.wake())
        await this.#room.wait(this.#room.count, late).catch(() => {})
        stopAlarm()
        if (this.#tryTake(share, size)) return
        if (late.aborted) throw busy()
      }
    } finally {
      stopTimer()
      this.#waiting--
      this.#heldByWaiting -= taken
    }
  }

  /** Gives `size` bytes of a share back. */
  giveBack(share: BodyShare, size: number): void {
    this.#shares.delete(share)
    this.#taken -= size
    if (size > 0) this.#room.wake()
  }

  #tryTake(share: BodyShare, size: number): boolean {
    this.#shares.delete(share)
    const isThere = this.#hasRoom(share, size)
    if (isThere) {
      this.#taken += size
      share.last = this.#monotonic()
    }
    if (isThere || share.taken > 0) this.#shares.add(share)
    return isThere
  }

  /** Makes room for `size` bytes more of a share. Returns false if there is none. */
  #hasRoom(share: BodyShare, size: number): boolean {
    while (this.#taken + size > bodiesSizeMax) {
      if (!this.#evict(share.taken + size)) return false
    }
    return true
  }

  /** Evicts the body that has been stalled for the longest time, if that is `evictedMs`. Otherwise
   *  evicts the largest body that is much larger than `size`, which the other one will have. Returns
   *  false if there is no such body. */
  #evict(size: number): boolean {
    const now = this.#monotonic()
    let largest: BodyShare | undefined
    for (const share of this.#shares) {
      if (now - share.last >= evictedMs && share.evict()) return true
      if (share.waits && share.taken > (largest?.taken ?? largerTimes * size)) largest = share
    }
    return largest?.evict() === true
  }

  /** Returns the time until the first body has stalled for `evictedMs`, in ms. */
  #untilStalled(): number {
    const now = this.#monotonic()
    for (const { waits, last } of this.#shares) {
      if (waits) return Math.max(1, last + evictedMs - now)
    }
    return evictedMs
  }
}

function busy(): TailraceError {
  const message = 'too many large bodies are on their way: send it again later; nothing was done'
  return new TailraceError('EBUSY', message)
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
    const counted = this.#countedWith(size)
    this.#budget.take(this, counted - this.#taken)
    this.#taken = counted
  }

  /** Takes memory for a chunk of `size` bytes, and waits for it if there is none. `held`: the most that
   *  a streamed body has in memory. Throws EBUSY. */
  async addSoon(size: number, held = Number.POSITIVE_INFINITY): Promise<void> {
    const more = this.#countedWith(size, held) - this.#taken
    await this.#budget.takeSoon(this, more)
    this.#taken += more
    // The request may have ended meanwhile, and would give nothing back any more.
    if (this.#hasEnded && !this.#isHeld) this[Symbol.dispose]()
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

  /** Counts a chunk of `size` bytes, and returns the memory that the body takes with it. */
  #countedWith(size: number, held = Number.POSITIVE_INFINITY): number {
    this.#size = Math.min(this.#size + size, held)
    return Math.max(0, this.#size - bodyFreeSize)
  }

  [Symbol.dispose](): void {
    this.#budget.giveBack(this, this.#taken)
    this.#taken = 0
    this.#size = 0
  }
}
