/** The share of one turn of the event loop that deliveries may take: watches and streamed answers, of all
 *  clients together. Requests of websockets have a pace of their own (inbox.ts). Data that are in memory are
 *  delivered in microtasks, and nothing else runs before those are done. See rfc/12, rules 22 and 33.
 *  Invariant: between two looks at the sockets, deliveries send at most `turnSize`, work at most `turnMs`, and
 *  what the last of them goes beyond it; those who wait go on in the order of waiting, each with a batch. */

import { type Deferred, deferred } from '../base/deferred.js'

/** Bytes of one turn, of all deliveries together. */
export const turnSize = 1024 * 1024
/** No request may keep the event loop from the others for longer: the promise of rfc/12, rule 33. */
export const stallMsMax = 50
/** Time of one turn, of all deliveries together. Well below `stallMsMax`, since other work and the collection of
 *  garbage come on top. */
export const turnMs = 10
/** Bytes that one client is sent before it is the next one's turn. */
export const batchSize = 64 * 1024
/** Cost of a delivery besides its bytes: some 20 µs of work. So a turn has at most 256 deliveries,
 *  and a batch 16. */
export const deliveryCost = 4 * 1024
/** So many of those that wait go on in one turn; together they can use all of it. */
const grantsMax = turnSize / batchSize

export class Pace {
  #left = turnSize
  #scheduled = false
  /** When this turn has lasted for `turnMs`. */
  #end = 0
  readonly #waiting = new Set<Deferred<void>>()
  /** Those that were granted a batch when others of the turn had used it up: they are the first of the next. */
  readonly #overtaken = new Set<Deferred<void>>()

  /** For one watch or one answer. */
  share(): Share {
    return new Share(this)
  }

  /** Whether a batch may begin at once: there is budget, and nobody waits for it. */
  get open(): boolean {
    return !this.spent && this.#waiting.size + this.#overtaken.size === 0
  }

  get spent(): boolean {
    return this.#left <= 0 || (this.#scheduled && performance.now() >= this.#end)
  }

  /** Resolves when a batch may begin: in a later turn, after those that waited before. */
  async turn(): Promise<void> {
    await this.#grant(this.#waiting)
    while (this.spent) await this.#grant(this.#overtaken)
  }

  /** Work begins: its time counts from now on, whether it delivers in this turn or not. */
  begin(): void {
    this.#schedule()
  }

  spend(cost: number): void {
    this.#left -= cost
    this.#schedule()
  }

  async #grant(waiting: Set<Deferred<void>>): Promise<void> {
    const granted = deferred<void>()
    waiting.add(granted)
    this.#schedule()
    await granted.promise
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    this.#end = performance.now() + turnMs
    setImmediate(() => this.#next())
  }

  #next(): void {
    this.#scheduled = false
    this.#left = turnSize
    let grants = 0
    for (const waiting of [this.#overtaken, this.#waiting]) {
      for (const granted of waiting) {
        if (grants === grantsMax) break
        grants++
        waiting.delete(granted)
        granted.resolve()
      }
    }
    if (this.#waiting.size + this.#overtaken.size > 0) this.#schedule()
  }
}

/** Bytes that one watch or one answer may send before others have their turn. */
export class Share {
  readonly #pace: Pace
  #left = 0

  constructor(pace: Pace) {
    this.#pace = pace
  }

  /** Whether a delivery may be made at once: while the batch lasts, or nobody waits. */
  tryTake(): boolean {
    if (this.#left > 0 && !this.#pace.spent) return true
    if (!this.#pace.open) return false
    this.#left = batchSize
    return true
  }

  /** Resolves when a delivery may be made. */
  async take(): Promise<void> {
    if (this.tryTake()) return
    await this.#pace.turn()
    this.#left = batchSize
  }

  /** Work on a delivery begins: its time counts. */
  begin(): void {
    this.#pace.begin()
  }

  /** A delivery of `size` bytes was made. */
  spend(size: number): void {
    const cost = size + deliveryCost
    this.#left -= cost
    this.#pace.spend(cost)
  }
}
