/** One timer for the nearest of many times on one clock. See rfc/9.
 *  Invariant: it rings at or after the nearest time that it was given, once, and then knows of none: who
 *  is rung looks which are due, and gives it the next. Nothing polls. */

import type { Environment } from './environment.js'

export class Alarm implements Disposable {
  readonly #timer: Environment['timer']
  readonly #clock: () => number
  readonly #ring: (lateMs: number) => void
  readonly #waitMsMax: number
  #at: number | undefined
  #set: Disposable | undefined
  #over = false

  /** `ring` is told how much later than it was meant to it comes. The clock is looked at again at least
   *  each `waitMsMax`, for one that may be set, or stops with its timers. */
  constructor(
    timer: Environment['timer'],
    options: {
      readonly clock: () => number
      readonly ring: (lateMs: number) => void
      readonly waitMsMax: number
    },
  ) {
    this.#timer = timer
    this.#clock = options.clock
    this.#ring = options.ring
    this.#waitMsMax = options.waitMsMax
  }

  get pending(): boolean {
    return this.#at !== undefined
  }

  /** Rings at this time, unless it rings before. */
  by(at: number): void {
    if (this.#over || (this.#at !== undefined && this.#at <= at)) return
    this.#start(at)
  }

  /** Never rings again. */
  [Symbol.dispose](): void {
    this.#over = true
    this.#at = undefined
    this.#set?.[Symbol.dispose]()
  }

  #start(at: number): void {
    this.#set?.[Symbol.dispose]()
    this.#at = at
    const now = this.#clock()
    // Of a time that has gone already nobody is late by more than from now on.
    const meant = Math.max(at, now)
    this.#set = this.#timer(Math.min(meant - now, this.#waitMsMax), () => {
      const late = this.#clock() - meant
      if (late < 0) {
        this.#start(at)
        return
      }
      this.#at = undefined
      this.#ring(late)
    })
  }
}
