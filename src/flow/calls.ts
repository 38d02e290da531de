/** Calls of the functions of targets in this process, and their signals. See rfc/24, rule 10.
 *  Invariant: a call leaves nothing on the signal of its run. Its own signal is made when somebody asks
 *  for it: most never do, and one for all calls would warn of its many listeners. */

import { AsyncLocalStorage } from 'node:async_hooks'
import { eitherSignal } from '../base/abort.js'
import { isPromise } from '../base/deferred.js'
import { invalid } from '../base/shape.js'
import type { TargetFunction } from './target.js'

/** The call that has led, directly or not, to the code that runs. */
const calls = new AsyncLocalStorage<Call>()

/** Calls a function of a target. `run`: the signal of its run. */
export function callWith(
  run: AbortSignal,
  fn: TargetFunction,
  values: readonly unknown[],
): unknown {
  return new Call(run).make(fn, values)
}

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

/** One call. Mutable; owned by what it calls. */
class Call {
  readonly #run: AbortSignal
  #own: ReturnType<typeof eitherSignal> | undefined
  /** The promise that the function returned. */
  #promise: PromiseLike<unknown> | undefined

  constructor(run: AbortSignal) {
    this.#run = run
  }

  get signal(): AbortSignal {
    if (!this.#own) {
      this.#own = eitherSignal(this.#run)
      this.#endLater()
    }
    return this.#own.signal
  }

  make(fn: TargetFunction, values: readonly unknown[]): unknown {
    try {
      const result = calls.run(this, fn, ...values)
      if (isPromise(result)) this.#promise = result
      return result
    } finally {
      if (this.#promise) this.#endLater()
      else this.#own?.end()
    }
  }

  /** Ends the signal with the promise, once both are there. */
  #endLater(): void {
    const own = this.#own
    if (own) this.#promise?.then(own.end, own.end)
  }
}
