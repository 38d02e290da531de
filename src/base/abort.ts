/** Things that end with a signal: a listener, the wait for a promise, a stream. All waits of one
 *  AbortSignal share one listener.
 *  Invariant: a signal has our listener exactly while something waits here. So a thousand
 *  calls with one signal raise no MaxListenersExceededWarning, and leave nothing on a
 *  signal that lives longer. */

import { canceled, TailraceError } from '../error.js'
import { deferred } from './deferred.js'
import { each, type Few, withOne, without } from './few.js'

/** The reason of an end that nobody is told of. All such ends share it, since to make an error with
 *  its stack takes longer than to end a watch. */
export const quietEnd = new TailraceError('ECANCELED', 'canceled by the caller')

/** An AbortController and its signal in one, in a tenth of their memory and time, for waits within
 *  the store. Mutable; owned by whoever may call `abort`. */
export class LightSignal {
  #aborted = false
  #reason: unknown
  #waits: Few<() => void>

  get aborted(): boolean {
    return this.#aborted
  }

  /** The reason of the end; undefined before it. */
  get reason(): unknown {
    return this.#reason
  }

  /** Ends everything that waits. A second call changes nothing. */
  abort(reason: unknown = quietEnd): void {
    if (this.#aborted) return
    this.#aborted = true
    this.#reason = reason
    const waits = this.#waits
    this.#waits = undefined
    for (const run of each(waits)) run()
  }

  /** Adds a wait; see `onAbort`. */
  add(run: () => void): () => void {
    this.#waits = withOne(this.#waits, run)
    return () => {
      this.#waits = without(this.#waits, run)
    }
  }
}

/** A signal as waits within the store take it. */
export type Signal = AbortSignal | LightSignal

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
export function onAbort(signal: Signal | undefined, run: () => void): () => void {
  if (!signal) return () => {}
  if (signal instanceof LightSignal) return signal.add(run)
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

/** Settles as `promise` does, but throws the error that `canceled` returns if the
 *  signal aborts first. The work behind the promise goes on then; if it fails later,
 *  that is no unhandled rejection. */
export function joinAbort<T>(promise: Promise<T>, signal?: Signal): Promise<T> {
  return signal ? joinEither(promise, signal) : promise
}

async function joinEither<T>(promise: Promise<T>, signal: Signal): Promise<T> {
  const either = deferred<T>()
  const abort = () => either.reject(canceled(signal))
  const endAbort = onAbort(signal, abort)
  if (signal.aborted) abort()
  promise.then(either.resolve, either.reject)
  try {
    return await either.promise
  } finally {
    endAbort()
  }
}

/** Yields the items of `source` until the signal aborts. Then it throws the error that `canceled`
 *  returns for the signal, and drops the item that the source still makes. */
export async function* abortable<T>(
  source: AsyncIterable<T>,
  signal?: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  if (!signal) {
    yield* source
    return
  }
  const items = source[Symbol.asyncIterator]()
  try {
    for (;;) {
      if (signal.aborted) throw canceled(signal)
      const item = await joinAbort(items.next(), signal)
      if (item.done) return
      yield item.value
    }
  } finally {
    const finished = items.return?.()
    // A source that is still making an item answers `return` only after it: do not wait for that.
    if (signal.aborted) void finished?.catch(() => {})
    else await finished
  }
}
