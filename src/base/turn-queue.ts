/** Shares of the event loop. A turn of the loop has a budget of time, and of a cost that its users name; who finds it
 *  spent waits for a later turn. Those who wait go on by self-clocked fair queuing (Golestani, INFOCOM 1994): first the
 *  one that will have used least, so that brief work does not wait for a round of all that is long. See rfc/12, rules 22,
 *  33 and 34. Runs in browsers.
 *  Invariant: between two looks of the loop at its sockets the users of one queue work for at most its budget, and one
 *  step beyond it; each turn resumes at least one of those who wait. */

import { type Deferred, deferred } from './deferred.js'

export type TurnBudget = {
  /** Time of one turn, of all users together. */
  readonly ms: number
  /** Cost of one turn, of all users together, in the unit of `spend`. Default: no bound. */
  readonly cost?: number
}

/** Each time that so many have gone on, the one that waits longest goes next. Without that, new ones that come all the
 *  time would keep it waiting for ever. */
export const oldestEach = 16

export class TurnQueue {
  readonly #ms: number
  readonly #cost: number
  readonly #waiting = new Heap()
  #order = 0
  #resumed = 0
  /** The virtual time is the start of whoever went on last, in the unit of the users' costs. */
  #clock = 0
  /** A turn whose budget counts has begun. */
  #open = false
  #turn = 0
  #end = 0
  #left = 0
  /** The next turn will resume some. */
  #scheduled = false

  constructor({ ms, cost = Number.POSITIVE_INFINITY }: TurnBudget) {
    this.#ms = ms
    this.#cost = cost
  }

  /** How many wait. */
  get size(): number {
    return this.#waiting.size
  }

  /** Whether the budget of this turn is used up. The first look begins the turn. */
  get spent(): boolean {
    this.begin()
    return this.#left <= 0 || now() >= this.#end
  }

  /** Counts the turns in which there was work. */
  get turn(): number {
    return this.#turn
  }

  /** Work begins: its time counts from now on. */
  begin(): void {
    if (this.#open) return
    this.#renew()
    const turn = this.#turn
    soon(() => {
      if (this.#turn === turn) this.#open = false
    })
  }

  spend(cost: number): void {
    this.begin()
    this.#left -= cost
  }

  /** Begins at once what a user with this virtual finish does next. Gives the virtual start; the user's next finish is
   *  that and the cost of its work. */
  enter(finish: number): number {
    this.#clock = Math.max(this.#clock, finish)
    return this.#clock
  }

  /** As `enter`, but resolves when it is the user's turn; `expected` is the likely cost of its work. A finish of
   *  `-Infinity` is before all others. */
  async wait(finish: number, expected = 0): Promise<number> {
    const urgent = finish === Number.NEGATIVE_INFINITY
    const start = urgent ? finish : Math.max(this.#clock, finish)
    const resumed = deferred<void>()
    this.#waiting.push({ start, end: start + expected, order: this.#order++, resumed })
    this.#schedule()
    await resumed.promise
    return start
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    soon(() => this.#next())
  }

  #next(): void {
    this.#renew()
    this.#resume()
  }

  #renew(): void {
    this.#open = true
    this.#turn++
    this.#end = now() + this.#ms
    this.#left = this.#cost
  }

  /** One after the other: the next one once all that the last one did at once is done. REQUIRES: one waits. */
  #resume(): void {
    const takesOldest = this.#resumed++ % oldestEach === oldestEach - 1
    const next = takesOldest ? this.#waiting.takeOldest() : this.#waiting.takeFirst()
    // The start of the oldest may be far ahead: the others are not late for that.
    if (!takesOldest) this.#clock = Math.max(this.#clock, next.start)
    next.resumed.resolve()
    afterMicrotasks(() => this.#goOn())
  }

  #goOn(): void {
    if (this.size > 0 && !this.spent) {
      this.#resume()
      return
    }
    // The budget ends with the turn, also where nobody waits.
    soon(() => {
      this.#open = false
      this.#scheduled = this.size > 0
      if (this.#scheduled) this.#next()
    })
  }
}

type Waiting = {
  readonly start: number
  /** Decides who is first. */
  readonly end: number
  readonly order: number
  readonly resumed: Deferred<void>
}

/** A binary heap: none is before the one at half its place. */
class Heap {
  readonly #items: Waiting[] = []

  get size(): number {
    return this.#items.length
  }

  push(item: Waiting): void {
    this.#items.push(item)
    this.#raise(this.#items.length - 1, item)
  }

  /** REQUIRES: it is not empty. */
  takeFirst(): Waiting {
    return this.#take(0)
  }

  /** The one that was pushed first. REQUIRES: it is not empty. */
  takeOldest(): Waiting {
    let oldest = 0
    for (const [at, { order }] of this.#items.entries()) {
      if (order < (this.#items[oldest]?.order ?? 0)) oldest = at
    }
    return this.#take(oldest)
  }

  #take(at: number): Waiting {
    const taken = this.#items[at]
    const last = this.#items.pop()
    if (!taken || !last) throw new Error('nobody waits')
    if (taken !== last) this.#raise(this.#lower(at, last), last)
    return taken
  }

  /** Its place, or one above it. */
  #raise(from: number, item: Waiting): void {
    let at = from
    while (at > 0) {
      const above = (at - 1) >> 1
      const parent = this.#items[above]
      if (!parent || isBefore(parent, item)) break
      this.#items[at] = parent
      at = above
    }
    this.#items[at] = item
  }

  /** A place below, where what is below it is not before the item. */
  #lower(from: number, item: Waiting): number {
    for (let at = from; ; ) {
      const [left, right] = [this.#items[2 * at + 1], this.#items[2 * at + 2]]
      const isRight = right !== undefined && left !== undefined && isBefore(right, left)
      const least = isRight ? right : left
      if (!least || isBefore(item, least)) return at
      this.#items[at] = least
      at = 2 * at + (isRight ? 2 : 1)
    }
  }
}

function isBefore(a: Waiting, b: Waiting): boolean {
  return a.end < b.end || (a.end === b.end && a.order < b.order)
}

// Taken when the module is loaded: a program that replaces the clock or the timers meanwhile, as tests do, would leave
// those who wait without their turn for ever.
const now = performance.now.bind(performance)
// A browser has no setImmediate.
const soon: (act: () => void) => void =
  typeof setImmediate === 'function' ? setImmediate : (act) => setTimeout(act, 0)

/** Once every microtask is done that is queued now, and all that those queue. */
function afterMicrotasks(act: () => void): void {
  // A browser has no nextTick; there the next one goes on in a turn of its own.
  if (typeof process === 'object' && typeof process.nextTick === 'function') {
    // Before a tick Node runs the ticks that are queued, then all microtasks, then ticks that those queued.
    queueMicrotask(() => process.nextTick(act))
  } else setTimeout(act, 0)
}
