/** A stretch of work between two turns of the event loop. Awaiting what is in memory never leaves the queue of
 *  microtasks, so that a long walk lets nothing else run unless it asks here. See rfc/12, rule 33.
 *  Invariant: who asks before each step of its work takes at most `sliceMs` and one step of a turn. */

import { setImmediate } from 'node:timers/promises'

/** Time that one walk works before the event loop turns. Well below `stallMsMax`, since a turn may hold the work of
 *  several, and a collection of garbage. */
export const sliceMs = 10

export class LoopSlice {
  #end = performance.now() + sliceMs

  /** Whether `turn` is to be awaited before the next step. */
  get over(): boolean {
    return performance.now() >= this.#end
  }

  /** Resolves in a later turn of the event loop, and begins the next slice. */
  async turn(): Promise<void> {
    await setImmediate()
    this.#end = performance.now() + sliceMs
  }
}
