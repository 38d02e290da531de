/** Listens to an AbortSignal: many waits of one signal share one listener on it.
 *  Invariant: a signal has a listener of ours exactly while something waits here. So a thousand calls with one
 *  signal are no MaxListenersExceededWarning, and nothing stays behind with a signal that outlives them. */

/** Held weakly: a fan ends with its signal. */
const fans = new WeakMap<AbortSignal, Fan>()

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

/** Runs once when the signal aborts, unless the returned function is called before. Does nothing for a signal
 *  that was aborted already: look first. REQUIRES: `run` does not throw. */
export function onAbort(signal: AbortSignal | undefined, run: () => void): () => void {
  if (!signal) return () => {}
  const fan = fans.get(signal) ?? new Fan(signal)
  fans.set(signal, fan)
  return fan.add(run)
}

/** Aborted as soon as one of the signals is, with its reason. Call `end` when nobody waits for it any more.
 *  `AbortSignal.any` has no end: what it made stays with a signal that lives on. */
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
