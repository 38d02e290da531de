/** Long work on the event loop, cut into slices so that others have their turn. See rfc/12, rule 33.
 *  Invariant: one slice a turn of the event loop, however much work waits: many long requests at once stop the
 *  others for no longer than one does. Runs in browsers.
 *
 *      const slice = new Slice()
 *      for (const op of ops) {
 *        apply(op)
 *        if (slice.over) await slice.next()
 *      }
 */

/** Work that is done at a time. Loops within loops have slices of their own: the sum stays below `stallMsMax`. */
export const sliceMs = 8

/** Who waits for a turn, in order. Of the process, since the event loop is: only `turn` and `passTurn` write it. */
const waiting: (() => void)[] = []

export class Slice {
  #ends = performance.now() + sliceMs

  /** Whether it is time to let others run. Cheap enough to ask after each small step. */
  get over(): boolean {
    return performance.now() >= this.#ends
  }

  /** Lets the event loop turn, and begins anew. */
  async next(): Promise<void> {
    await turn()
    this.#ends = performance.now() + sliceMs
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve)
    if (waiting.length === 1) soon(passTurn)
  })
}

function passTurn(): void {
  waiting.shift()?.()
  if (waiting.length > 0) soon(passTurn)
}

/** Calls back in the next turn, after what came in meanwhile. */
function soon(act: () => void): void {
  // A browser has no setImmediate.
  if (typeof setImmediate === 'function') setImmediate(act)
  else setTimeout(act, 0)
}
