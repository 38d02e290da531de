/** Clock, randomness and ids as one thing that classes take in, so that tests can fix them. */

import { randomBytes } from 'node:crypto'

export type Environment = {
  /** Wall clock, ms since 1970: for people, and for what counts on while no process runs (expiry, what an open
   *  leaves of a lease). It may jump. */
  readonly now: () => number
  /** Monotonic clock, ms. For deadlines. */
  readonly monotonic: () => number
  /** Calls `act` once, `ms` from now on the monotonic clock, in a turn of its own; disposed of, never.
   *  It keeps no process alive. */
  readonly timer: (ms: number, act: () => void) => Disposable
  /** A new id: 16 random bytes as 32 lower-case hex digits. */
  readonly id: () => string
}

/** What `setTimeout` can wait: 2^31 - 1 ms. */
const timerMsMax = 2_147_483_647

export const systemEnvironment: Environment = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  timer: (ms, act) => {
    // A longer time than the system can wait at once ends early: who set it looks at the clock.
    const timer = setTimeout(act, Math.min(Math.max(0, ms), timerMsMax))
    timer.unref()
    return { [Symbol.dispose]: () => clearTimeout(timer) }
  },
  id: () => randomBytes(16).toString('hex'),
}
