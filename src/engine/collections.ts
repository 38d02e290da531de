/** The collections of one engine: one at a time, one step at a time. See rfc/4, rules 25 and 26.
 *  Invariant: refs that are put and committed are remembered from the beginning of a collection to
 *  its end, the last step included. */

import { TailraceError } from '../error.js'
import type { Collection, SweepStep, Swept } from './engine.js'
import type { Spares } from './spares.js'

/** The work of an engine for one collection. */
type Sweep = {
  /** Does a step. `assertOpen` throws ECLOSED once the collection has ended: nothing may be freed
   *  then. */
  readonly step: (step: SweepStep, assertOpen: () => void) => Promise<Swept>
  readonly settle: () => Promise<void>
  readonly turn: () => Promise<number>
}

/** Begins collections, and refuses a second one. */
export class Collections {
  readonly #spares: Spares
  #current: Running | undefined

  constructor(spares: Spares) {
    this.#spares = spares
  }

  /** Begins a collection whose steps `sweep` does. Throws EBUSY. */
  begin(sweep: Sweep): Collection {
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
  readonly #sweep: Sweep
  readonly #ended: () => void
  #stepping = false
  #disposed = false

  constructor(sweep: Sweep, ended: () => void) {
    this.#sweep = sweep
    this.#ended = ended
  }

  step(step: SweepStep): Promise<Swept> {
    return this.#alone(() => this.#sweep.step(step, () => this.#assertOpen()))
  }

  settle(): Promise<void> {
    return this.#alone(this.#sweep.settle)
  }

  turn(): Promise<number> {
    return this.#sweep.turn()
  }

  async #alone<T>(act: () => Promise<T>): Promise<T> {
    this.#assertOpen()
    if (this.#stepping) throw busy('a step of the collection is under way: wait for its end')
    this.#stepping = true
    try {
      return await act()
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
