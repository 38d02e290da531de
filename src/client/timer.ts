/** Timers that work the same in Node and in browsers. Only the timer of a wait that somebody awaits
 *  keeps a Node process alive. */

import { deferred } from '../base/deferred.js'
import { canceled } from '../error.js'

/** Runs once after `ms`, unless the returned function is called before. Does not hold the process. */
export function startTimer(ms: number, run: () => void): () => void {
  const timer: unknown = setTimeout(run, ms)
  unref(timer)
  return () => clearTimeout(timer as Parameters<typeof clearTimeout>[0])
}

/** Throws ECANCELED. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) throw canceled(signal)
  const over = deferred<void>()
  const timer = setTimeout(() => over.resolve(), ms)
  const abort = () => {
    if (signal) over.reject(canceled(signal))
  }
  signal?.addEventListener('abort', abort, { once: true })
  try {
    await over.promise
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
  }
}

/** In browsers a timer is a number, and nothing is held. */
function unref(timer: unknown): void {
  if (typeof timer === 'object' && timer !== null && 'unref' in timer) {
    if (typeof timer.unref === 'function') timer.unref()
  }
}
