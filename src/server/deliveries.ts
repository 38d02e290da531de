/** The deliveries of all watches of one connection: each watch that may have something to send gets
 *  its turn here, one event at a time. See rfc/12, rules 11 and 22.
 *  Invariant: events leave only while the socket has room and the connection has its share of the
 *  event loop. All watches that are ready take turns. */

import type { Signal } from '../base/abort.js'
import type { Outbox } from './outbox.js'
import type { Share } from './pace.js'

/** A watch as its turns see it. */
export type Deliverer = {
  /** Sends the next event, if it is in memory. Returns true if there may be another one. Never
   *  throws. */
  readonly deliver: () => boolean
}

type DeliveriesPorts = {
  readonly outbox: Outbox
  /** The connection's share of the event loop. */
  readonly share: Share
  /** Aborted when the connection has closed. */
  readonly closed: Signal
}

/** The watches of one connection that are ready. Mutable; owned by the connection. */
export class Deliveries {
  readonly #ports: DeliveriesPorts
  readonly #ready = new Set<Deliverer>()
  #running = false

  constructor(ports: DeliveriesPorts) {
    this.#ports = ports
  }

  /** The number of watches that wait for their turn. */
  get waiting(): number {
    return this.#ready.size
  }

  /** Lets a watch deliver in its turn. */
  add(watch: Deliverer): void {
    this.#ready.add(watch)
    if (!this.#running) void this.#run()
  }

  /** Never throws. */
  async #run(): Promise<void> {
    const { outbox, share, closed } = this.#ports
    this.#running = true
    while (this.#ready.size > 0 && !closed.aborted) {
      if (outbox.full && !(await drained(outbox, closed))) break
      if (!share.tryTake()) await share.take()
      // Answers may have filled the socket meanwhile.
      if (!outbox.full) this.#deliver(outbox, share)
    }
    this.#ready.clear()
    share.rest()
    this.#running = false
  }

  /** Delivers one event, and more while the share lasts. No await may come between the checks and
   *  the sends. */
  #deliver(outbox: Outbox, share: Share): void {
    // A watch that is added again comes again, behind all others.
    for (const next of this.#ready) {
      this.#ready.delete(next)
      if (next.deliver()) this.#ready.add(next)
      if (outbox.full || !share.tryTake()) return
    }
  }
}

/** Resolves with false if the connection ends before. */
async function drained(outbox: Outbox, closed: Signal): Promise<boolean> {
  try {
    await outbox.drained(closed)
    return true
  } catch {
    return false
  }
}
