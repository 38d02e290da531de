/** The environment: clocks, timers and ids. Classes get it as an argument,
 *  so that tests can fix it. */

import { randomFillSync } from 'node:crypto'

/** The clocks, timers and ids that a class uses. */
export type Environment = {
  /** Returns the wall-clock time, in ms since 1970. It may jump. Use it for times that people read,
   *  and for times that go on while no process runs: expiry, and the rest of a lease at an open. */
  readonly now: () => number
  /** Returns the time of a monotonic clock, in ms. Use it for deadlines. */
  readonly monotonic: () => number
  /** Calls `act` once, `ms` from now on the monotonic clock, in its own turn of the event loop. It
   *  may ring early where `ms` is above `timerMsMax`: look at the clock. Disposing of the timer
   *  cancels it. A timer does not keep the process alive. */
  readonly timer: (ms: number, act: () => void) => Disposable
  /** Returns a new id: 16 random bytes as 32 lower-case hex digits. */
  readonly id: () => string
}

/** The longest time that `setTimeout` can wait, in ms: 2^31 - 1. */
const timerMsMax = 2_147_483_647

/** The size of an id in bytes. */
const idSize = 16
/** The number of ids whose bytes are drawn at once: each call of the system's source takes as long as
 *  the other work of a small commit (12 µs). */
const idsDrawn = 64

/** Random ids. Mutable. */
class RandomIds {
  readonly #bytes = Buffer.alloc(idsDrawn * idSize)
  /** The offset of the first byte that was not given out. */
  #at = this.#bytes.length

  next(): string {
    if (this.#at === this.#bytes.length) {
      randomFillSync(this.#bytes)
      this.#at = 0
    }
    const start = this.#at
    this.#at += idSize
    return this.#bytes.toString('hex', start, this.#at)
  }
}

const randomIds = new RandomIds()

/** The clocks, timers and ids of this system. */
export const systemEnvironment: Environment = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  timer: (ms, act) => {
    const timer = setTimeout(act, Math.min(Math.max(0, ms), timerMsMax))
    timer.unref()
    return { [Symbol.dispose]: () => clearTimeout(timer) }
  },
  id: () => randomIds.next(),
}
