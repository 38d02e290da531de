/** The collections of one engine: one at a time, one step at a time. See rfc/4, rules 25 and 26.
 *  Invariant: refs that are put and committed are remembered from the beginning of a collection to
 *  its end, the last step included. */

import { TailraceError } from '../error.js'
import type { Collection, SweepStep, Swept } from './engine.js'
import type { Spares } from './spares.js'

/** Does a step. `assertOpen` throws ECLOSED once the collection has ended: nothing
 *  may be freed then. */
type SweepPart = (step: SweepStep, assertOpen: () => void) => Promise<Swept>

/** Begins collections, and refuses a second one. */
export class Collections {
  readonly #spares: Spares
  #current: Running | undefined

  constructor(spares: Spares) {
    this.#spares = spares
  }

  /** Begins a collection whose steps `sweep` does. Throws EBUSY. */
  begin(sweep: SweepPart): Collection {
    if (this.#current) throw busy('a collection of the store is under way: wait for its end')
    this.#spares.begin()
    const ended = () => {
      this.#spares.end()
      this.#current = undefined
    }
    this.#current = new Running(sweep, ended)
    return this.#current
  }
}

class Running implements Collection {
  readonly #sweep: SweepPart
  readonly #ended: () => void
  #stepping = false
  #disposed = false

  constructor(sweep: SweepPart, ended: () => void) {
    this.#sweep = sweep
    this.#ended = ended
  }

  async step(step: SweepStep): Promise<Swept> {
    this.#assertOpen()
    if (this.#stepping) throw busy('a step of the collection is under way: wait for its end')
    this.#stepping = true
    try {
      return await this.#sweep(step, () => this.#assertOpen())
    } finally {
      this.#stepping = false
      if (this.#disposed) this.#ended()
    }
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return
    this.#disposed = true
    if (!this.#stepping) this.#ended()
  }

  #assertOpen(): void {
    if (this.#disposed)
      throw new TailraceError('ECLOSED', 'the collection has ended: begin another')
  }
}

function busy(message: string): TailraceError {
  return new TailraceError('EBUSY', message)
}
