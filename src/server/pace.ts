/** The share of one turn of the event loop that deliveries may take: watches and streamed answers, of all
 *  clients together. Requests of websockets have a pace of their own (inbox.ts). Data that are in memory are
 *  delivered in microtasks, and nothing else runs before those are done. See rfc/12, rules 22 and 33.
 *  Invariant: between two looks at the sockets, deliveries send at most `turnSize`, work at most `turnMs`, and
 *  what the last of them goes beyond it; of those who wait the one with the least to send goes on first, with a batch. */

import { TurnQueue } from '../base/turn-queue.js'

/** Bytes of one turn, of all deliveries together. */
export const turnSize = 1024 * 1024
/** No request may keep the event loop from the others for longer: the promise of rfc/12, rule 33. */
export const stallMsMax = 50
/** Time of one turn, of all deliveries together. Well below `stallMsMax`, since other work and the collection of
 *  garbage come on top. */
export const turnMs = 5
/** Bytes that one client is sent before it is the next one's turn. */
export const batchSize = 64 * 1024
/** Cost of a delivery besides its bytes: some 20 µs of work. So a turn has at most 256 deliveries,
 *  and a batch 16. */
export const deliveryCost = 4 * 1024
/** Cost of a delivery besides its bytes where clients are compared. It is small: a client that is told line by line what
 *  happens goes on before those that read what is old. */
const briefCost = 256

export class Pace {
  readonly #turns = new TurnQueue({ ms: turnMs, cost: turnSize })

  /** For one watch or one answer. */
  share(): Share {
    return new Share(this.#turns)
  }
}

/** The share of one watch or of one answer: how much it may send before others have their turn. */
export class Share {
  readonly #turns: TurnQueue
  /** Bytes that are left of the batch. */
  #left = 0
  /** Cost of all that it sent, counted as `TurnQueue.wait` has it. */
  #finish = 0
  /** Bytes since it had nothing to send, and the turn of the last of them. */
  #burst = 0
  #turn = 0
  /** Bytes of the burst before. It is likely to send as many when it has something again. */
  #expected = briefCost

  constructor(turns: TurnQueue) {
    this.#turns = turns
  }

  /** Whether a delivery may be made at once: while the batch lasts, or nobody waits. */
  tryTake(): boolean {
    if (this.#turns.spent) return false
    if (this.#left > 0) return true
    if (this.#turns.size > 0) return false
    this.#finish = this.#turns.enter(this.#finish)
    this.#left = batchSize
    return true
  }

  /** Resolves when a delivery may be made. */
  async take(): Promise<void> {
    if (this.tryTake()) return
    this.#endBurst()
    const expected = Math.max(this.#expected, this.#burst)
    this.#finish = await this.#turns.wait(this.#finish, expected)
    this.#left = batchSize
  }

  /** Work on a delivery begins: its time counts. */
  begin(): void {
    this.#turns.begin()
  }

  /** A delivery of `size` bytes was made. */
  spend(size: number): void {
    this.#endBurst()
    this.#turn = this.#turns.turn
    this.#burst += size + briefCost
    this.#finish += size + briefCost
    const cost = size + deliveryCost
    this.#left -= cost
    this.#turns.spend(cost)
  }

  /** One that sent nothing in the turn before had nothing to send. */
  #endBurst(): void {
    if (this.#turns.turn <= this.#turn + 1) return
    if (this.#burst > 0) this.#expected = this.#burst
    this.#burst = 0
  }
}
