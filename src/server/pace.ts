/** The pace of deliveries: a bound on what they take of one turn of the event loop. Deliveries are
 *  events of watches and pieces of streamed answers, of all clients together. Without a pace, data
 *  that are in memory would be delivered in microtasks, and nothing else would run before they are
 *  all done. Requests have a pace of their own (inbox.ts, pipeline.ts). See rfc/12, rules 22 and
 *  33.
 *  Invariant: between two polls of the sockets, deliveries cost at most `turnSize` and work for at
 *  most `turnMs`, or the share of a busy loop, and the last one may go beyond. Of the clients that wait, the one that will have
 *  been sent least goes on first, with a batch. */

import { TurnQueue } from '../base/turn-queue.js'

/** The largest cost of all deliveries of one turn together, in bytes. */
export const turnSize = 1024 * 1024
/** The longest time that one request may keep the event loop from the others, in ms. Rule 33
 *  promises it, and `test/server/stall.test.ts` measures it. */
export const stallMsMax = 50
/** The longest time that all deliveries of one turn work together, in ms, unless the loop is busy
 *  (`deliveriesShare`). It is well below `stallMsMax`, since other work and garbage collection come on
 *  top. */
export const turnMs = 2
/** The cost of the deliveries that one client gets before the next client goes on, in bytes. */
export const batchSize = 64 * 1024
/** The cost of a delivery besides its bytes, in bytes: about 20 µs of work. So a turn has at most
 *  256 deliveries, and a batch 16. */
export const deliveryCost = 4 * 1024
/** The cost of a delivery besides its bytes when clients are compared, in bytes. It is small, so
 *  that a client that follows a log line by line goes on before clients that read old data. */
const briefCost = 256
/** The share of the time of all else that deliveries have where the loop is busy, and the most of it
 *  in one turn, in ms. */
const deliveriesShare = { of: 0.2, msMax: 4 }
/** The share that requests have there: what waits in vain for its beginning only takes memory. */
const requestsShare = { of: 0.4, msMax: 10 }

/** The pace of what is sent to clients, or of what they ask for. */
type PaceKind = 'deliveries' | 'requests'

/** `newcomerCost`: the expected cost of a client before its first delivery or request, in bytes. For
 *  deliveries it is more than one of which it is known that it costs little, so that new ones that
 *  come all the time do not keep those waiting, and less than one that reads old data. A request
 *  over HTTP costs as much as a batch. */
const kinds = {
  deliveries: { share: deliveriesShare, newcomerCost: 8 * 1024 },
  requests: { share: requestsShare, newcomerCost: batchSize },
}

/** The pace of one kind of work of a server. Mutable; shared by all clients. */
export class Pace {
  readonly #turns: TurnQueue
  readonly #newcomerCost: number

  constructor(kind: PaceKind = 'deliveries') {
    const { share, newcomerCost } = kinds[kind]
    this.#turns = new TurnQueue({ ms: turnMs, share, cost: turnSize })
    this.#newcomerCost = newcomerCost
  }

  /** Returns the share of one streamed answer, of the watches of one websocket, or of the requests of
   *  one connection. */
  share(): Share {
    return new Share(this.#turns, this.#newcomerCost)
  }
}

/** The share of one client: it says when its next delivery may be made. One at a time may wait for
 *  it. */
export class Share {
  readonly #turns: TurnQueue
  /** The cost that is left of the batch, in bytes. */
  #left = 0
  /** The virtual finish of the last delivery (see `TurnQueue.wait`). */
  #finish = 0
  /** The cost of the deliveries since the client last had nothing to be sent, in bytes. */
  #burst = 0
  /** The cost of the burst before, in bytes. The next burst is likely to cost as much. */
  #expected: number
  /** The turn of the last delivery, or the one in which the last wait for it was over. */
  #turn = 0
  /** True while it waits for its turn. */
  #waits = false

  constructor(turns: TurnQueue, newcomerCost: number) {
    this.#turns = turns
    this.#expected = newcomerCost
  }

  /** Returns true if a delivery may be made at once: the turn has budget left, and the batch lasts
   *  or no other share waits. */
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
    const expected = Math.min(Math.max(this.#expected, this.#burst), batchSize)
    const turn = this.#turns.wait(this.#finish, expected)
    // Bytes that are sent meanwhile, such as heartbeats, count as well.
    this.#finish = this.#turns.startOf(this.#finish)
    this.#waits = true
    await turn
    this.#waits = false
    this.#turn = this.#turns.turn
    this.#left = batchSize
  }

  /** Begins the work on a delivery: its time counts from now on. */
  begin(): void {
    this.#turns.begin()
  }

  /** Takes the cost of a delivery of `size` bytes. */
  spend(size: number): void {
    this.#endBurst()
    this.#turn = this.#turns.turn
    this.#burst += size + briefCost
    this.#finish += size + briefCost
    const cost = size + deliveryCost
    this.#left -= cost
    this.#turns.spend(cost)
  }

  /** Ends the burst: there is nothing to send. Where turns are long, a client that follows a log line
   *  by line is sent something in each, and would else count like one that reads old data. */
  rest(): void {
    if (this.#burst > 0) this.#expected = this.#burst
    this.#burst = 0
  }

  /** Ends the burst if the client was sent nothing in the turn before. One that waits for its turn is not
   *  at rest: one that reads old data, and waits for all others after each delivery, would else count as
   *  one that is sent little, and so would one that is sent heartbeats meanwhile. */
  #endBurst(): void {
    if (!this.#waits && this.#turns.turn > this.#turn + 1) this.rest()
  }
}
