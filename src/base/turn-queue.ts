/** A queue of users that share the event loop. A turn of the loop has a budget of time, and of a
 *  cost in a unit that the users choose. A user that finds the budget used up waits for a later
 *  turn. Waiting users go on by weighted fair queuing (Parekh and Gallager, 1993), with the virtual
 *  time of WF2Q+ (Bennett and Zhang, 1997): first the one whose virtual finish is the earliest, so
 *  that short work does not wait for a round of all long work. See rfc/12, rules 22, 33 and 34. Runs
 *  in browsers.
 *  Invariant: between two polls of the loop for I/O the users of one queue work for at most its
 *  budget and one step more; each turn resumes at least one waiting user. */

import { type Deferred, deferred } from './deferred.js'

type TurnBudget = {
  /** Time that all users together have in one turn, in ms. */
  readonly ms: number
  /** The share of the time that all else took since the last turn of this queue, which its users have
   *  besides where that is more than `ms`, and the most of it, in ms. Where the loop is busy, they then
   *  go on as fast as the rest of it. Default: none. */
  readonly share?: { readonly of: number; readonly msMax: number }
  /** Cost that all users together may spend in one turn, in the unit of
   *  `spend`. Default: no bound. */
  readonly cost?: number
}

/** One resumption of this many goes to the user that has waited longest. Without that, new users
 *  that come all the time could keep it waiting for ever. */
export const oldestEach = 16

/** The queue. Mutable; shared by its users, all of one event loop. */
export class TurnQueue {
  readonly #ms: number
  readonly #share: TurnBudget['share']
  readonly #cost: number
  readonly #waiting = new Heap()
  #order = 0
  #resumed = 0
  /** The virtual time, in the unit of the users' costs: the latest virtual start of a user that went on,
   *  and the parts that new users took of the others' since. So new users that come all the time do not
   *  keep those waiting that came before. With the virtual finish in place of the start, as in
   *  self-clocked fair queuing, short work would wait for all long work that has the same finish. */
  #clock = 0
  /** The number of waiting users that have gone on before. */
  #returning = 0
  /** True while the budget of a turn counts. */
  #open = false
  #turn = 0
  #end = 0
  #left = 0
  /** True if a later turn is scheduled to resume users. */
  #scheduled = false
  /** The time at which users began to wait for the next turn; undefined if none does. */
  #waitingSince: number | undefined

  constructor({ ms, share, cost = Number.POSITIVE_INFINITY }: TurnBudget) {
    this.#ms = ms
    this.#share = share
    this.#cost = cost
  }

  /** The number of waiting users. */
  get size(): number {
    return this.#waiting.size
  }

  /** True if the budget of this turn is used up. The first look begins the turn. */
  get spent(): boolean {
    this.begin()
    return this.#left <= 0 || now() >= this.#end
  }

  /** The number of turns with work so far. */
  get turn(): number {
    return this.#turn
  }

  /** Begins a turn, unless one is open: its time counts from now on. */
  begin(): void {
    if (this.#open) return
    this.#renew()
    const turn = this.#turn
    soon(() => {
      if (this.#turn === turn) this.#open = false
    })
  }

  /** Takes a cost from the budget of this turn. */
  spend(cost: number): void {
    this.begin()
    this.#left -= cost
  }

  /** Returns the virtual start of a user that waits now. */
  startOf(finish: number): number {
    return Math.max(this.#clock, finish)
  }

  /** Lets a user go on at once. `finish` is the virtual finish of its last work, 0 at
   *  first. Returns the virtual start of its next work, whose virtual finish is that start
   *  plus the cost of the work. */
  enter(finish: number): number {
    this.#clock = Math.max(this.#clock, finish)
    return this.#clock
  }

  /** Waits until it is the user's turn: behind all users with a lower rank, and those of the same rank
   *  that came before. The clock does not move. */
  async waitAt(rank: number): Promise<void> {
    await this.#wait(rank, rank)
  }

  /** Waits until it is the user's turn. Takes and returns virtual times as `enter`
   *  does; `expected` is the likely cost of the next work. A finish of 0 says that the user is new. */
  async wait(finish: number, expected = 0): Promise<number> {
    const start = this.startOf(finish)
    const isReturning = finish > 0
    if (isReturning) this.#returning++
    const next = await this.#wait(start, start + expected)
    if (isReturning) this.#returning--
    else this.#clock += expected / (this.#returning + 1)
    // The virtual start of the oldest may be far ahead. The clock does not follow it, since new
    // users would then have to start as late.
    if (next !== 'oldest') this.#clock = Math.max(this.#clock, start)
    return start
  }

  #wait(start: number, end: number): Promise<Why> {
    const resumed = deferred<Why>()
    this.#waiting.push({ start, end, order: this.#order++, resumed })
    this.#schedule()
    return resumed.promise
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    this.#waitingSince = now()
    soon(() => this.#next())
  }

  #next(): void {
    this.#renew()
    this.#resume()
  }

  #renew(): void {
    this.#open = true
    this.#turn++
    const start = now()
    this.#end = start + this.#budgetAt(start)
    this.#waitingSince = undefined
    this.#left = this.#cost
  }

  /** Returns the time that a turn has which begins now. */
  #budgetAt(start: number): number {
    if (!this.#share || this.#waitingSince === undefined) return this.#ms
    const { of, msMax } = this.#share
    return Math.max(this.#ms, Math.min(msMax, of * (start - this.#waitingSince)))
  }

  /** Resumes one user, and the next one when the microtasks of this one are
   *  done. REQUIRES: a user waits. */
  #resume(): void {
    const takesOldest = this.#resumed++ % oldestEach === oldestEach - 1
    const next = takesOldest ? this.#waiting.takeOldest() : this.#waiting.takeFirst()
    next.resumed.resolve(takesOldest ? 'oldest' : 'first')
    afterMicrotasks(() => this.#goOn())
  }

  #goOn(): void {
    if (this.size > 0 && !this.spent) {
      this.#resume()
      return
    }
    if (this.size > 0) this.#waitingSince = now()
    // The budget ends with the turn, even if nobody waits.
    soon(() => {
      this.#open = false
      this.#scheduled = this.size > 0
      if (this.#scheduled) this.#next()
    })
  }
}

/** Why a user goes on: it is the first, or it has waited longest. */
type Why = 'first' | 'oldest'

type Waiting = {
  readonly start: number
  /** The expected virtual finish, or the rank; the lowest goes first. */
  readonly end: number
  readonly order: number
  readonly resumed: Deferred<Why>
}

/** A binary heap: no item is before its parent. */
class Heap {
  readonly #items: Waiting[] = []

  get size(): number {
    return this.#items.length
  }

  push(item: Waiting): void {
    this.#items.push(item)
    this.#raise(this.#items.length - 1, item)
  }

  /** Takes the item that is before all others. REQUIRES: the heap is not empty. */
  takeFirst(): Waiting {
    return this.#take(0)
  }

  /** Takes the item that was pushed first. REQUIRES: the heap is not empty. */
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

  /** Puts the item into the free place `from`, or above it, where its parent is before it. */
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

  /** Moves the free place `from` down until no item below it is before `item`, and returns it. */
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

// Read when the module is loaded. If a program replaces the clock or the timers later, as tests do,
// waiting users still get their turn.
const now = performance.now.bind(performance)
// A browser has no setImmediate.
const soon: (act: () => void) => void =
  typeof setImmediate === 'function' ? setImmediate : (act) => setTimeout(act, 0)

/** Calls `act` once all microtasks that are queued now are done, and all that these queue. */
function afterMicrotasks(act: () => void): void {
  // A browser has no nextTick: there each user goes on in a turn of its own.
  if (typeof process === 'object' && typeof process.nextTick === 'function') {
    // Node runs all queued ticks, then all microtasks, then the ticks that these have queued.
    queueMicrotask(() => process.nextTick(act))
  } else setTimeout(act, 0)
}
