/** Writes that are sent again until they are answered, because their caller asked for that and they do no
 *  harm twice. See rfc/12, rule 21.
 *  Invariant: it ends with an answer of the server, with the signal, or with the client. */

import type { Backoff } from '../api/connect.js'
import { pause } from '../base/timer.js'
import { isCode } from '../error.js'
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

  /** As often as it takes: the waits between two tries are bounded by the backoff. REQUIRES: what is sent
   *  twice is done once. Throws what the server says, ECLOSED (disposed), ECANCELED. */
  async untilAnswered<T>(send: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const { backoff, random } = this.#options
    const ended = this.#ended.signal
    for (let failures = 1; ; failures++) {
      try {
        return await send()
      } catch (error) {
        if (ended.aborted || !isPassing(error)) throw error
      }
      await pause(delayOf(backoff, failures, random()), signal, ended)
    }
  }

  /** Idempotent. Who waits learns ECLOSED. */
  dispose(): void {
    this.#ended.abort(closedByDispose())
  }
}

/** No answer to what was sent, or one that asks to send it again. An EUNKNOWN with a state is an answer: it was
 *  committed long ago. */
function isPassing(error: unknown): boolean {
  if (isCode(error, 'EUNKNOWN')) return error.failed === undefined
  return isCode(error, 'ECLOSED') || isCode(error, 'EBUSY') || isCode(error, 'ETIMEDOUT')
}
