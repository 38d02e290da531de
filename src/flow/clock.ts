/** The clock, the timers and the randomness of a run. Its driver gets them from outside, so that tests
 *  can fix them. See rfc/24, rules 29 and 30. */

/** The clock, the timers and the randomness of a run. */
export type RunClock = {
  /** Returns the time of a monotonic clock, in ms. */
  readonly monotonic: () => number
  /** Calls `act` once, `ms` from now, unless it is disposed of before. It keeps the process alive: a run
   *  may have nothing else to wait for. */
  readonly timer: (ms: number, act: () => void) => Disposable
  /** Returns a number from 0 to 1, without 1. */
  readonly random: () => number
}

/** The clock of this system. */
export const systemClock: RunClock = {
  monotonic: () => performance.now(),
  timer: (ms, act) => {
    const timer = setTimeout(act, ms)
    return { [Symbol.dispose]: () => clearTimeout(timer) }
  },
  random: () => Math.random(),
}
