/** An alarm: one timer for the earliest of many times on one clock. See rfc/9.
 *  Invariant: it rings once, at or after the earliest time that it was given, and then
 *  forgets all times. Its owner then looks which of them are due, and sets it to the
 *  next one. Nothing polls. */

import type { Environment } from './environment.js'

/** The alarm, until it is disposed of. Mutable; owned by the feature that sets it. */
export class Alarm implements Disposable {
  readonly #timer: Environment['timer']
  readonly #clock: () => number
  readonly #ring: (lateMs: number) => void
  readonly #waitMsMax: number
  #at: number | undefined
  #set: Disposable | undefined
  #over = false

  /** Calls `ring` with its delay in ms: the time since it was due, or since it was set, if that is
   *  later. The clock is read at least every `waitMsMax` ms, because somebody may set it, and
   *  because timers may stand still while it goes on. */
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

  /** True if it is set to a time. */
  get pending(): boolean {
    return this.#at !== undefined
  }

  /** Sets it to `at`, unless it is set to an earlier time. */
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
    // A time in the past counts as late only from now on.
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
