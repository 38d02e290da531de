/** Waits for something that cannot be canceled, or for a signal, whichever is first. */

import { canceled } from '../error.js'
import { deferred } from './deferred.js'
import { onAbort } from './on-abort.js'

/** As `promise`, but throws the signal's reason (ECANCELED) if it aborts before. What the promise
 *  stands for goes on; its later failure is not unhandled. */
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
