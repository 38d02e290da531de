/** The time limit of one call of a target. See rfc/24, rule 30.
 *  Invariant: a call that lasted longer fails, whatever it returns. Nobody waits for one that does not
 *  listen for longer than `graceMs`. */

import { type Deferred, deferred, isPromise } from '../base/deferred.js'
import { TailraceError } from '../error.js'
import type { RunClock } from './clock.js'

/** The time in which a call may end that was told that its time is over, in ms. */
export const graceMs = 5_000

/** The bound of a call. */
export type CallBound = {
  readonly ms: number
  /** The name of its target. */
  readonly name: string
  readonly clock: RunClock
}

/** The limit. Mutable; owned by its call. */
export class CallLimit {
  readonly #bound: CallBound
  readonly #tell: (late: TailraceError) => void
  readonly #abandoned: Deferred<never> = deferred()
  #began = 0
  #timer: Disposable | undefined
  #isOver = false
  #late: TailraceError | undefined

  /** `tell` is called with ETIMEDOUT when the time of a call is over that has not returned. */
  constructor(bound: CallBound, tell: (late: TailraceError) => void) {
    this.#bound = bound
    this.#tell = tell
    // Perhaps nobody waits for it.
    this.#abandoned.promise.catch(() => {})
  }

  /** The error of a call whose time is over. */
  get late(): TailraceError | undefined {
    return this.#late
  }

  /** Begins the time, anew if the call begins anew. */
  begin(): void {
    const { ms, clock } = this.#bound
    this.end()
    this.#began = clock.monotonic()
    this.#timer = clock.timer(ms, () => this.#runOut())
  }

  /** Ends the time of a call whose function has returned. A function that let no timer ring is late as
   *  well. `took`: the time that it took, in ms, if not that since its begin. */
  returned(took = this.#bound.clock.monotonic() - this.#began): void {
    this.end()
    if (this.#isOver) return
    this.#isOver = true
    if (took >= this.#bound.ms) this.#late ??= this.#error()
  }

  /** Settles as `act` does, but throws ETIMEDOUT if that takes longer: once it has ended, after `graceMs`
   *  at the latest. `drop` gets what comes too late. */
  within<T>(act: () => T | Promise<T>, drop: (value: T) => void): T | Promise<T> {
    const answer = act()
    if (isPromise(answer)) return this.#settled(answer as Promise<T>, drop)
    this.returned()
    if (this.#late) throw this.#late
    return answer as T
  }

  /** Stops the timer. */
  end(): void {
    this.#timer?.[Symbol.dispose]()
    this.#timer = undefined
  }

  async #settled<T>(answer: Promise<T>, drop: (value: T) => void): Promise<T> {
    const settled = await Promise.race([answer, this.#abandoned.promise]).then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    )
    this.returned()
    if (this.#late) {
      void answer.then(drop, () => {})
      throw this.#late
    }
    if ('error' in settled) throw settled.error
    return settled.value
  }

  #runOut(): void {
    const late = this.#error()
    this.#late = late
    this.#timer = this.#bound.clock.timer(graceMs, () => this.#abandoned.reject(late))
    this.#tell(late)
  }

  #error(): TailraceError {
    const { ms, name } = this.#bound
    return new TailraceError('ETIMEDOUT', `a call of target ${name} lasted longer than ${ms} ms`)
  }
}
