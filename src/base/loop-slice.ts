/** A stretch of work between two turns of the event loop. Awaiting what is in memory never leaves the queue of
 *  microtasks, so that a long walk lets nothing else run unless it asks here. See rfc/12, rules 33 and 34. Runs in
 *  browsers.
 *  Invariant: who asks before each step of its work takes at most `sliceMs` and one step of a turn; and of all that
 *  has given way one goes on in a turn, so that many long walks stop the others for no longer than one does. */

/** Time that one walk works before the event loop turns. Well below `stallMsMax`, since a walk may hold another, and
 *  garbage is collected too. */
export const sliceMs = 10

/** Who waits for a turn, in order. Of the process, as the event loop is: only `later` and `goOn` write it. */
const waiting: (() => void)[] = []

export class LoopSlice {
  #end = performance.now() + sliceMs

  /** Whether `turn` is to be awaited before the next step. */
  get over(): boolean {
    return performance.now() >= this.#end
  }

  /** Resolves in a later turn of the event loop, and begins the next slice. */
  async turn(): Promise<void> {
    await later()
    this.#end = performance.now() + sliceMs
  }
}

function later(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve)
    if (waiting.length === 1) soon(goOn)
  })
}

function goOn(): void {
  waiting.shift()?.()
  if (waiting.length > 0) soon(goOn)
}

function soon(act: () => void): void {
  // A browser has no setImmediate.
  if (typeof setImmediate === 'function') setImmediate(act)
  else setTimeout(act, 0)
}
