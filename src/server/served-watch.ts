/** One watch of one connection: it sends the events of a watch of the store, within the client's
 *  credit and its share of the event loop. See rfc/12, rules 11, 12 and 22.
 *  Invariant: an event is asked for only while the balance is above 0 and the socket has room, so
 *  that a slow client costs its position and an integer. The last frame is the only `end` or
 *  `error`. */

import type { Kvs } from '../api/kvs.js'
import type { WatchEvent } from '../api/watch.js'
import { Wakeup } from '../base/wakeup.js'
import { toTailraceError } from '../error.js'
import { creditDefault, creditMax, frameCost, type RequestFrame } from '../wire/frames.js'
import { errorBodyOf } from '../wire/status.js'
import type { Outbox } from './outbox.js'
import type { Share } from './pace.js'

/** The frame that asks for a watch. */
export type WatchRequest = Extract<RequestFrame, { readonly op: 'watch' }>

type WatchPorts = {
  /** The controller of the watch. The server aborts it when it stops. */
  readonly controller: AbortController
  /** The watch's share of the event loop. */
  readonly share: Share
}

/** A watch of one connection. */
export class ServedWatch {
  readonly #request: WatchRequest
  readonly #outbox: Outbox
  readonly #controller: AbortController
  readonly #share: Share
  /** Woken when a grant leaves the balance above 0. */
  readonly #granted = new Wakeup()
  /** The credit that is left, in bytes. It may be below 0 by one frame. */
  #balance: number
  /** True once the last frame was sent, or the connection has closed. */
  #ended = false

  constructor(request: WatchRequest, outbox: Outbox, { controller, share }: WatchPorts) {
    this.#request = request
    this.#outbox = outbox
    this.#controller = controller
    this.#share = share
    this.#balance = Math.min(request.credit ?? creditDefault, creditMax)
  }

  /** Adds credit, up to `creditMax`. */
  grant(bytes: number): void {
    this.#balance = Math.min(this.#balance + bytes, creditMax)
    if (this.#balance > 0) this.#granted.wake()
  }

  /** Ends the watch with a frame `end`. No later event is sent. */
  cancel(): void {
    if (this.#ended) return
    this.#ended = true
    this.#outbox.send({ id: this.#request.id, type: 'end', reason: 'canceled' })
    this.#controller.abort()
  }

  /** Ends the watch without a frame: the connection has closed. */
  drop(): void {
    this.#ended = true
    this.#controller.abort()
  }

  /** Runs the watch. Resolves when it has ended and holds nothing any more. Never throws: an error
   *  is the last frame. */
  async run(store: Kvs): Promise<void> {
    const { id, op: _op, key, credit: _credit, ...options } = this.#request
    const { signal } = this.#controller
    try {
      const watching = store.watch(key, { ...options, signal })
      try {
        await this.#deliver(watching, signal)
      } finally {
        await watching.return?.()
      }
    } catch (error) {
      if (this.#ended) return
      this.#ended = true
      this.#outbox.send({ id, type: 'error', ...errorBodyOf(toTailraceError(error)) })
    }
  }

  async #deliver(watching: AsyncIterator<WatchEvent>, signal: AbortSignal): Promise<void> {
    while (!this.#ended) {
      await this.#room(signal)
      const next = await watching.next()
      if (next.done) return
      await this.#share.take()
      // Other watches may have filled the socket meanwhile. No await may come between this check
      // and the send.
      while (this.#outbox.full) await this.#outbox.drained(signal)
      if (this.#ended) return
      this.#send(next.value)
    }
  }

  #send(event: WatchEvent): void {
    const { id } = this.#request
    switch (event.type) {
      case 'append':
      case 'value':
        this.#spend(event.data?.length ?? 0)
        this.#outbox.sendEvent(event, id)
        return
      case 'lease':
        this.#spend(0)
        this.#outbox.send({ id, ...event })
        return
      case 'end':
        this.#ended = true
        this.#outbox.send({ id, ...event })
        return
      case 'live':
        this.#outbox.send({ id, ...event })
        return
      default:
        event satisfies never
    }
  }

  #spend(size: number): void {
    this.#balance -= size + frameCost
    this.#share.spend(size)
  }

  /** Waits until there is credit and room in the socket at the same time. */
  async #room(signal: AbortSignal): Promise<void> {
    while (this.#balance <= 0 || this.#outbox.full) {
      const seen = this.#granted.count
      if (this.#balance <= 0) await this.#granted.wait(seen, signal)
      await this.#outbox.drained(signal)
    }
  }
}
