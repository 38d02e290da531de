/** A stretch of work between two turns of the event loop. Awaiting what is in memory never leaves the queue of
 *  microtasks, so that a long walk lets nothing else run unless it asks here. See rfc/12, rules 33 and 34. Runs in
 *  browsers.
 *  Invariant: all who ask before each step of their work take at most `sliceMs` of a turn together, and one step. */

import { TurnQueue } from './turn-queue.js'

/** Time that walks work before the event loop turns. Well below `stallMsMax`, since other work and the collection of
 *  garbage come on top. */
export const sliceMs = 5

/** The one queue of this process: there is one event loop. */
const loop = new TurnQueue({ ms: sliceMs })

export type LoopSliceOptions = {
  /** Goes on before all that is not urgent: others wait for the end of this work. */
  readonly urgent?: boolean
}

export class LoopSlice {
  /** Turns that it has used, counted as `TurnQueue.wait` has it. */
  #finish: number

  constructor({ urgent = false }: LoopSliceOptions = {}) {
    this.#finish = urgent ? Number.NEGATIVE_INFINITY : 0
  }

  /** Whether `turn` is to be awaited before the next step. */
  get over(): boolean {
    return loop.spent
  }

  /** Resolves in a later turn of the event loop, and begins the next slice. */
  async turn(): Promise<void> {
    this.#finish = (await loop.wait(this.#finish)) + 1
  }
}
