/** Listeners of AbortSignals: all waits of one signal share one listener.
 *  Invariant: a signal has our listener exactly while something waits here. So a thousand
 *  calls with one signal raise no MaxListenersExceededWarning, and leave nothing on a
 *  signal that lives longer. */

/** The fan of each signal, held weakly, so that it is freed with its signal. */
const fans = new WeakMap<AbortSignal, Fan>()

/** The waits of one signal, and their one listener. */
class Fan {
  readonly #signal: AbortSignal
  readonly #waits = new Set<{ readonly run: () => void }>()
  readonly #abort = () => {
    const waits = [...this.#waits]
    this.#waits.clear()
    for (const { run } of waits) run()
  }

  constructor(signal: AbortSignal) {
    this.#signal = signal
  }

  add(run: () => void): () => void {
    const wait = { run }
    if (this.#waits.size === 0) this.#signal.addEventListener('abort', this.#abort, { once: true })
    this.#waits.add(wait)
    return () => this.#remove(wait)
  }

  #remove(wait: { readonly run: () => void }): void {
    if (!this.#waits.delete(wait) || this.#waits.size > 0) return
    this.#signal.removeEventListener('abort', this.#abort)
  }
}

/** Calls `run` once when the signal aborts, unless the returned function was called
 *  before. Does nothing for a signal that is aborted already: check that first.
 *  REQUIRES: `run` does not throw. */
export function onAbort(signal: AbortSignal | undefined, run: () => void): () => void {
  if (!signal) return () => {}
  const fan = fans.get(signal) ?? new Fan(signal)
  fans.set(signal, fan)
  return fan.add(run)
}

/** Returns a signal that aborts as soon as one of `signals` does, with its reason. Call `end` when
 *  nobody waits for it any more: it removes the listeners. `AbortSignal.any` offers no such call,
 *  so that its listeners stay as long as the signals live. */
export function eitherSignal(...signals: readonly (AbortSignal | undefined)[]): {
  readonly signal: AbortSignal
  readonly end: () => void
} {
  const either = new AbortController()
  const ends = signals.map((signal) => {
    if (signal?.aborted) either.abort(signal.reason)
    return onAbort(signal, () => either.abort(signal?.reason))
  })
  return {
    signal: either.signal,
    end: () => {
      for (const end of ends) end()
    },
  }
}
