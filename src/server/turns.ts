/** At most so many at once, the others in order. Invariant: a place is handed to who waits longest, so
 *  that a late caller cannot take it. */

import { onAbort } from '../base/abort.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { canceled } from '../error.js'

export class Turns {
  #free: number
  readonly #waiting = new Set<Deferred<void>>()

  constructor(places: number) {
    this.#free = places
  }

  /** Runs once there is a place. Those that wait are bounded by the caller. Throws ECANCELED where the signal aborts
   *  before. */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.#free > 0) this.#free--
    else await this.#wait(signal)
    try {
      return await work()
    } finally {
      this.#leave()
    }
  }

  async #wait(signal: AbortSignal | undefined): Promise<void> {
    const turn = deferred<void>()
    this.#waiting.add(turn)
    if (!signal) return turn.promise
    const give = () => {
      // One that has a place already has it.
      if (this.#waiting.delete(turn)) turn.reject(canceled(signal))
    }
    const endAbort = onAbort(signal, give)
    if (signal.aborted) give()
    try {
      await turn.promise
    } finally {
      endAbort()
    }
  }

  #leave(): void {
    const [next] = this.#waiting
    if (!next) {
      this.#free++
      return
    }
    this.#waiting.delete(next)
    next.resolve()
  }
}
