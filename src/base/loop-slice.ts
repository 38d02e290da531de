/** Slices of long work, so that the event loop turns between them. An await of something that is in
 *  memory runs in the same turn, so a long walk would stop everything else. See rfc/12, rules 33
 *  and 34. Runs in browsers.
 *  Invariant: all work that checks `over` before each step uses at most `sliceMs` of a turn, or
 *  `sliceShare`, together, and urgent work `urgentMs` or `urgentShare` besides, and one step more of each. */

import { TurnQueue } from './turn-queue.js'

/** Time of one turn that all slices use together, in ms. It is well below `stallMsMax`, since other
 *  work and garbage collection come on top. */
const sliceMs = 2
/** The share of the time of all else that slices have where the loop is busy, and the most of it in one
 *  turn, in ms. */
const sliceShare = { of: 0.2, msMax: 4 }
/** The time of one turn that all slices of urgent work use together, in ms. A commit of 4,096 puts
 *  has some 40 ms of work, for which all writes of its namespace wait. */
const urgentMs = 4
/** The share of the time of all else that urgent work has where the loop is busy, and the most of it in
 *  one turn, in ms. It is more than all else has, since all who write wait for its end. */
const urgentShare = { of: 3, msMax: 24 }

/** The number of steps that every piece of work has at once, however busy the turn is: short work, as
 *  the lookup of one key, does not wait behind long work. What begins work has bounds of its own. */
export const freeSteps = 16

/** The queues for all slices of this process, since it has one event loop. */
const loop = /* @__PURE__ */ new TurnQueue({ ms: sliceMs, share: sliceShare })
const urgentLoop = /* @__PURE__ */ new TurnQueue({ ms: urgentMs, share: urgentShare })

type LoopSliceOptions = {
  /** True if this work has time of its own, because others wait for its end. */
  readonly urgent?: boolean
}

/** The slices of one piece of work. Before each step, check `over` and await `turn` if it is true. */
export class LoopSlice {
  /** The number of slices that it has had: who has had fewest goes on first, so that short work does
   *  not wait for long work. */
  #had = 0
  #free = freeSteps
  readonly #loop: TurnQueue

  constructor({ urgent = false }: LoopSliceOptions = {}) {
    this.#loop = urgent ? urgentLoop : loop
  }

  /** True if the slice is used up: await `turn` before the next step. */
  get over(): boolean {
    if (this.#free > 0) {
      this.#free--
      return false
    }
    return this.#loop.spent
  }

  /** Resolves in a later turn of the event loop, and begins the next slice. */
  async turn(): Promise<void> {
    await this.#loop.waitAt(this.#had++)
  }
}
