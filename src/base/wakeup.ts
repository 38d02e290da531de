/** A wake-up: waiters are told that something moved and then look for themselves; it carries no data.
 *  Invariant: a `wake` after `count` was read is never lost, because `wait` compares counts.
 *  This file and `deferred.ts` are the only places that make promises by hand. */

import { canceled } from '../error.js'
import { onAbort } from './on-abort.js'

export class Wakeup {
  #count = 0
  readonly #waiting = new Set<() => void>()

  /** Grows with each wake. Read it before you look at the state that the wake is about. */
  get count(): number {
    return this.#count
  }

  wake(): void {
    this.#count++
    if (this.#waiting.size === 0) return
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const resume of waiting) resume()
  }

  /** Resolves once `count` differs from `seen`, at once if it does already. Throws ECANCELED. */
  wait(seen: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(canceled(signal))
    if (this.#count !== seen) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const resume = () => {
        endAbort()
        resolve()
      }
      const endAbort = onAbort(signal, () => {
        this.#waiting.delete(resume)
        if (signal) reject(canceled(signal))
      })
      this.#waiting.add(resume)
    })
  }
}
