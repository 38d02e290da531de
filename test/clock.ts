/** A clock that tests move by hand, with the timers that are set on it. */

import type { Environment } from '../src/base/environment.js'

type Timer = { readonly at: number; readonly act: () => void }

/** Time moves by hand only. Ids count up from a random start. */
export class TestClock implements Environment {
  #ms = 1_700_000_000_000
  /** The wall clock before the monotonic one. */
  #ahead = 0
  #ids = Math.floor(Math.random() * 2 ** 48)
  readonly #timers = new Set<Timer>()

  readonly now = () => this.#ms + this.#ahead
  readonly monotonic = () => this.#ms
  readonly id = () => (this.#ids++).toString(16).padStart(32, '0')
  readonly timer = (ms: number, act: () => void) => {
    const timer = { at: this.#ms + Math.max(0, ms), act }
    this.#timers.add(timer)
    return { [Symbol.dispose]: () => void this.#timers.delete(timer) }
  }

  /** Timers that are set and did not ring. */
  get timers(): number {
    return this.#timers.size
  }

  /** Goes on, and stops at each timer on the way. */
  advance(ms: number): void {
    const end = this.#ms + ms
    for (let next = this.#next(end); next; next = this.#next(end)) {
      this.#ms = Math.max(this.#ms, next.at)
      this.#timers.delete(next)
      next.act()
    }
    this.#ms = end
  }

  /** Somebody sets the wall clock. */
  setForward(ms: number): void {
    this.#ahead += ms
  }

  /** As a process that was stopped meanwhile sees it: timers ring when all of the time has gone. */
  stall(ms: number): void {
    this.#ms += ms
    for (const timer of [...this.#timers]) {
      if (timer.at > this.#ms || !this.#timers.delete(timer)) continue
      timer.act()
    }
  }

  #next(end: number): Timer | undefined {
    const due = [...this.#timers].filter(({ at }) => at <= end)
    return due.sort((a, b) => a.at - b.at)[0]
  }
}
