/** Looks at stored values, which come before anybody knows how much memory they take. See rfc/23, rule 9.
 *  Invariant: at most `looksMax` are on their way, the others wait in order. So their bytes are few. */

import { type Deferred, deferred } from '../base/deferred.js'

/** The most looks at the same time. */
export const looksMax = 64

/** The looks of a process. Mutable; shared by its values. */
export class Looks {
  #running = 0
  readonly #waiting = new Set<Deferred<void>>()

  /** Runs a look in its turn. */
  async run<T>(look: () => Promise<T>): Promise<T> {
    if (this.#running < looksMax) this.#running++
    else {
      const turn = deferred<void>()
      this.#waiting.add(turn)
      // Who ends gives its place away.
      await turn.promise
    }
    try {
      return await look()
    } finally {
      const [next] = this.#waiting
      if (next) {
        this.#waiting.delete(next)
        next.resolve()
      } else this.#running--
    }
  }
}
