/** A bound on the number of calls that run at the same time; the others wait in order.
 *  Invariant: a free place goes to the call that has waited longest. A later call cannot take
 *  it. */

import { onAbort } from '../base/abort.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { canceled } from '../error.js'

/** A number of places. Mutable; shared by its callers. */
export class Turns {
  #free: number
  readonly #waiting = new Set<Deferred<void>>()

  constructor(places: number) {
    this.#free = places
  }

  /** Runs `work` once there is a free place. REQUIRES: the caller bounds the number of calls that
   *  wait. Throws what `work` throws, and ECANCELED if the signal aborts before `work` begins. */
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
      // The call may have got its place at the same time: then it runs.
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
