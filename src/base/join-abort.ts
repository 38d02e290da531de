/** Waits that end early by a signal, for work that cannot be canceled itself. */

import { canceled } from '../error.js'
import { deferred } from './deferred.js'
import { onAbort } from './on-abort.js'

/** Settles as `promise` does, but throws the error that `canceled` returns if the
 *  signal aborts first. The work behind the promise goes on then; if it fails later,
 *  that is no unhandled rejection. */
export function joinAbort<T>(promise: Promise<T>, signal?: AbortSignal): Promise<T> {
  return signal ? joinEither(promise, signal) : promise
}

async function joinEither<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
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
