/** The rules for targets that fail: what comes of them, and which are called again, and when. See rfc/24,
 *  rules 9 and 29.
 *  Invariant: a target that waits to be called again takes nothing of the run but a timer, which does
 *  not outlive the run. */

import { type FailureMode, retryDelayDefault, retryDelayMax } from '../api/flow.js'
import type { RunClock } from './clock.js'
import type { Step } from './graph.js'

/** Returns the answer to a failure of a step, where `ofRun` is that of its run. */
export function failureModeOf({ target, of }: Step, ofRun: FailureMode): FailureMode {
  const { onError = ofRun } = target.failure
  // These are for its branches.
  const isForBranches = onError === 'null' || onError === 'trim'
  return target.arrays.length > 0 && !of && isForBranches ? ofRun : onError
}

/** Returns the wait before the next call of a step of which `tries` calls have failed, in ms. `random`:
 *  0 to 1. */
export function retryWaitOf(delayMs: number, tries: number, random: number): number {
  const longest = Math.min(retryDelayMax, delayMs * 2 ** Math.min(tries - 1, 30))
  return Math.round(longest * (1 - random / 2))
}

/** A call that is to come after a failed one. `tries`: the calls that failed so far. */
export type Retry = { readonly tries: number; readonly waitMs: number }

/** The calls that are to come after failed ones. Mutable; owned by the driver of a run. */
export class Retries {
  readonly #clock: RunClock
  readonly #retries: number
  /** The failed calls of steps that are called again. */
  readonly #tries = new Map<Step, number>()
  readonly #timers = new Map<Step, Disposable>()

  /** `retries`: those of targets that say nothing else. */
  constructor(clock: RunClock, retries: number) {
    this.#clock = clock
    this.#retries = retries
  }

  /** Counts a failed call, and tells when the step is called again; undefined if it is not. */
  next(step: Step): Retry | undefined {
    const { retries = this.#retries, retryDelayMs = retryDelayDefault } = step.target.failure
    const tries = (this.#tries.get(step) ?? 0) + 1
    if (tries > retries) {
      this.#tries.delete(step)
      return undefined
    }
    this.#tries.set(step, tries)
    return { tries, waitMs: retryWaitOf(retryDelayMs, tries, this.#clock.random()) }
  }

  /** Calls `act` once the step is to be called again. */
  wait(step: Step, { waitMs }: Retry, act: () => void): void {
    const ring = () => {
      this.#timers.delete(step)
      act()
    }
    this.#timers.set(step, this.#clock.timer(waitMs, ring))
  }

  /** Forgets the failed calls of a step that has finished. */
  forget(step: Step): void {
    this.#tries.delete(step)
  }

  /** Ends all waits. */
  end(): void {
    for (const timer of this.#timers.values()) timer[Symbol.dispose]()
    this.#timers.clear()
  }
}
