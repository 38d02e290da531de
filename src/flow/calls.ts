/** Calls of the functions of targets, and their signals. See rfc/24, rule 10.
 *  Invariant: a call that has ended leaves nothing on the signal of its run. Its own signal is made when
 *  somebody asks for it: most never do, and Node would warn of one that all calls listen to. */

import { AsyncLocalStorage } from 'node:async_hooks'
import { eitherSignal } from '../base/abort.js'
import { invalid } from '../base/shape.js'
import type { TargetFunction } from './target.js'

/** The call that has led, directly or not, to the code that runs. */
const calls = new AsyncLocalStorage<TargetCall>()

/** Returns the signal of the call of a target's function in which it is called: it aborts when the run
 *  stops, or is ended by its own signal. Throws EINVAL outside of such a call.
 *
 *      const page = target('page', [url], (url) => fetch(url, { signal: targetSignal() }))
 */
export function targetSignal(): AbortSignal {
  const call = calls.getStore()
  if (!call) throw invalid('targetSignal() is for functions of targets, and for what they call')
  return call.signal
}

/** One call. Mutable; ended by the driver of its run. */
export class TargetCall {
  readonly #run: AbortSignal
  #own: ReturnType<typeof eitherSignal> | undefined
  #hasEnded = false

  /** `run`: the signal of the run. */
  constructor(run: AbortSignal) {
    this.#run = run
  }

  /** Aborts when the run ends early, while the call goes on. */
  get signal(): AbortSignal {
    if (!this.#own) {
      this.#own = eitherSignal(this.#run)
      if (this.#hasEnded) this.#own.end()
    }
    return this.#own.signal
  }

  /** Calls a function, for which `targetSignal` gives the signal of this call. */
  run(fn: TargetFunction, values: readonly unknown[]): unknown {
    return calls.run(this, fn, ...values)
  }

  /** Ends the call: what happens to the run is nothing to it any more. */
  end(): void {
    this.#hasEnded = true
    this.#own?.end()
  }
}
