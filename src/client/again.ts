/** Sends a write again until the server answers it, for callers that ask for `exactlyOnce` or
 *  `resend`. See rfc/12, rule 21.
 *  Invariant: the tries end with an answer of the server, with the signal, or with the client. */

import type { Backoff } from '../api/connect.js'
import { pause } from '../base/timer.js'
import { isCode, reasonOf, TailraceError } from '../error.js'
import { delayOf } from './backoff.js'
import { closedByDispose } from './http.js'

export type AgainOptions = {
  readonly backoff: Backoff
  readonly random: () => number
}

export class Again {
  readonly #options: AgainOptions
  readonly #ended = new AbortController()

  constructor(options: AgainOptions) {
    this.#options = options
  }

  /** Calls `send` until it is answered, and says if an earlier try may have been done. The number
   *  of tries has no bound; the waits between them have those of the backoff. `isKept`: the server
   *  keeps the answer, so that a later try has that of the first one. REQUIRES: a write that is sent twice is done once. Throws what the server says,
   *  EUNKNOWN (a later try was refused, without a kept answer), ECLOSED (disposed), ECANCELED. */
  async untilAnswered<T>(
    send: (earlier: { readonly mayBeDone: boolean }) => Promise<T>,
    signal: AbortSignal | undefined,
    { isKept }: { readonly isKept: boolean },
  ): Promise<T> {
    const { backoff, random } = this.#options
    const ended = this.#ended.signal
    let mayBeDone = false
    for (let failures = 1; ; failures++) {
      try {
        return await send({ mayBeDone })
      } catch (error) {
        if (ended.aborted) throw error
        if (!isPassing(error)) throw mayBeDone && !isKept ? refusedLater(error) : error
        mayBeDone ||= isCode(error, 'EUNKNOWN') || isCode(error, 'ETIMEDOUT')
      }
      await pause(delayOf(backoff, failures, random()), signal, ended)
    }
  }

  /** Ends all waits between tries with ECLOSED. Idempotent. */
  dispose(): void {
    this.#ended.abort(closedByDispose())
  }
}

/** Returns the error of a write that was refused after a try that may have been done. */
function refusedLater(cause: unknown): TailraceError {
  const message = `an earlier try was not answered, and a later one was refused: look if it was done (${reasonOf(cause)})`
  return new TailraceError('EUNKNOWN', message, { cause })
}

/** Returns true if the write has to be sent again: it was not answered, or the server asks to
 *  retry. An EUNKNOWN with `failed` is an answer: the write was committed long ago, or nobody can
 *  tell any more (rfc/20, rule 7). */
function isPassing(error: unknown): boolean {
  if (isCode(error, 'EUNKNOWN')) return error.failed === undefined
  return isCode(error, 'ECLOSED') || isCode(error, 'EBUSY') || isCode(error, 'ETIMEDOUT')
}
