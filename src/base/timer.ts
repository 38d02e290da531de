/** Timers that work the same in Node and in browsers. Only the timer of `pause`, and one that is told
 *  to, keeps a Node process alive. */

import { canceled } from '../error.js'
import { onAbort } from './abort.js'
import { deferred } from './deferred.js'

/** The longest wait of a timer of the system, in ms. */
export const waitMsMax = 2 ** 31 - 1

/** Calls `run` once after `ms`, unless the returned function is called before. Does
 *  not keep the process alive, unless `keepsAlive`. */
export function startTimer(
  ms: number,
  run: () => void,
  { keepsAlive = false }: { readonly keepsAlive?: boolean } = {},
): () => void {
  const timer: unknown = setTimeout(run, ms)
  if (!keepsAlive) unref(timer)
  return () => clearTimeout(timer as Parameters<typeof clearTimeout>[0])
}

/** Waits for `ms`. If one of the signals aborts first, throws the error that
 *  `canceled` returns for it. */
export async function pause(
  ms: number,
  ...signals: readonly (AbortSignal | undefined)[]
): Promise<void> {
  const over = deferred<void>()
  const timer = setTimeout(() => over.resolve(), ms)
  const ends = signals.map((signal) => {
    if (signal?.aborted) over.reject(canceled(signal))
    return onAbort(signal, () => signal && over.reject(canceled(signal)))
  })
  try {
    await over.promise
  } finally {
    clearTimeout(timer)
    for (const end of ends) end()
  }
}

/** Lets the process end while the timer runs. In browsers a timer is a
 *  number, and needs nothing. */
function unref(timer: unknown): void {
  if (typeof timer === 'object' && timer !== null && 'unref' in timer) {
    if (typeof timer.unref === 'function') timer.unref()
  }
}
