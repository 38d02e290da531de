/** A Wakeup tells its waiters that something has changed. It carries no data: each waiter reads the
 *  current state itself.
 *  Invariant: a `wake` after `count` was read is never lost, because `wait` compares counts. This
 *  file and `deferred.ts` are the only places that make promises by hand. */

import { canceled } from '../error.js'
import { onAbort, type Signal } from './abort.js'
import { each, type Few, withOne, without } from './few.js'

/** The wake-up. Mutable; shared by the owner of the state, who wakes, and by its waiters. */
export class Wakeup {
  #count = 0
  /** Undefined while nobody waits, and the function itself while one waits: there are many wake-ups
   *  that nobody waits for, and many that one waits for. */
  #waiting: Few<() => void>

  /** The number of wakes so far. Read it before the state that the wakes are
   *  about, then `wait` for it. */
  get count(): number {
    return this.#count
  }

  /** Resumes all waiters. */
  wake(): void {
    this.#count++
    const waiting = this.#waiting
    this.#waiting = undefined
    for (const resume of each(waiting)) resume()
  }

  /** Calls `run` at the next wake, unless the returned function was called before. For one who waits in
   *  very large numbers: it takes no promise. REQUIRES: nothing woke since its caller looked at the
   *  state, in this turn. */
  onWake(run: () => void): () => void {
    this.#waiting = withOne(this.#waiting, run)
    return () => {
      this.#waiting = without(this.#waiting, run)
    }
  }

  /** Resolves once `count` differs from `seen`, at once if it does already. Throws the error that
   *  `canceled` returns if the signal aborts first. */
  wait(seen: number, signal?: Signal): Promise<void> {
    if (signal?.aborted) return Promise.reject(canceled(signal))
    if (this.#count !== seen) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const resume = () => {
        endAbort()
        resolve()
      }
      const endAbort = onAbort(signal, () => {
        this.#waiting = without(this.#waiting, resume)
        if (signal) reject(canceled(signal))
      })
      this.#waiting = withOne(this.#waiting, resume)
    })
  }
}
