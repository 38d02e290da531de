/** At most so many at once, the others in order. Invariant: a place is handed to who waits longest, so
 *  that a late caller cannot take it. */

import { type Deferred, deferred } from '../base/deferred.js'

export class Turns {
  #free: number
  readonly #waiting = new Set<Deferred<void>>()

  constructor(places: number) {
    this.#free = places
  }

  /** Runs once there is a place. Those that wait are bounded by the caller. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) {
      this.#free--
    } else {
      const turn = deferred<void>()
      this.#waiting.add(turn)
      await turn.promise
    }
    try {
      return await work()
    } finally {
      this.#leave()
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
