/** Calls of the functions of targets, and their signals. See rfc/24, rule 10.
 *  Invariant: a call that has ended leaves nothing on the signal of its run. Its own signal is made when
 *  somebody asks for it: most never do, and Node would warn of one that all calls listen to. */

import { eitherSignal } from '../base/abort.js'
import { invalid } from '../base/shape.js'
import type { TargetFunction } from './target.js'

/** The call whose function runs now, until it returns: calls of one process nest, and never overlap. */
const calls: { now: TargetCall | undefined } = { now: undefined }

/** Returns the signal of the call of a target's function: it aborts when the run stops, or is ended by
 *  its own signal. It is to be asked for by the function, or by what that calls, before the first
 *  `await`. Throws EINVAL elsewhere.
 *
 *      const page = target('page', [url], (url) => fetch(url, { signal: targetSignal() }))
 */
export function targetSignal(): AbortSignal {
  if (calls.now) return calls.now.signal
  throw invalid('targetSignal() is for functions of targets, before their first await')
}

/** One call. Mutable; ended by the driver of its run. */
export class TargetCall {
  readonly #run: AbortSignal
  #own: ReturnType<typeof eitherSignal> | undefined

  /** `run`: the signal of the run. */
  constructor(run: AbortSignal) {
    this.#run = run
  }

  /** Aborts when the run ends early, while the call goes on. */
  get signal(): AbortSignal {
    this.#own ??= eitherSignal(this.#run)
    return this.#own.signal
  }

  /** Calls a function, for which `targetSignal` gives the signal of this call. */
  run(fn: TargetFunction, values: readonly unknown[]): unknown {
    const outer = calls.now
    calls.now = this
    try {
      return fn(...values)
    } finally {
      calls.now = outer
    }
  }

  /** Ends the call: what happens to the run is nothing to it any more. */
  end(): void {
    this.#own?.end()
  }
}
