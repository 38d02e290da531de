/** One watch of one connection: an iteration of the store's watch, at the pace of the client's
 *  credit and of the event loop. See rfc/12, rules 11, 12 and 22.
 *  Invariant: an event is asked for only while the balance is above 0 and the socket has room, so
 *  that a slow client costs its position and an integer; exactly one `end` or `error` is the last
 *  frame. */

import type { Kvs } from '../api/kvs.js'
import type { WatchEvent } from '../api/watch.js'
import { Wakeup } from '../base/wakeup.js'
import { toTailraceError } from '../error.js'
import { creditDefault, creditMax, frameCost, type RequestFrame } from '../wire/frames.js'
import { errorBodyOf } from '../wire/status.js'
import type { Outbox } from './outbox.js'
import type { Share } from './pace.js'

export type WatchRequest = Extract<RequestFrame, { readonly op: 'watch' }>

export type WatchPorts = {
  /** Aborted by the server when it stops, by the connection when it closes. */
  readonly controller: AbortController
  /** The watch's share of the event loop. */
  readonly share: Share
}

export class ServedWatch {
  readonly #request: WatchRequest
  readonly #outbox: Outbox
  readonly #controller: AbortController
  readonly #share: Share
  readonly #granted = new Wakeup()
  #balance: number
  #ended = false

  constructor(request: WatchRequest, outbox: Outbox, { controller, share }: WatchPorts) {
    this.#request = request
    this.#outbox = outbox
    this.#controller = controller
    this.#share = share
    this.#balance = Math.min(request.credit ?? creditDefault, creditMax)
  }

  grant(bytes: number): void {
    this.#balance = Math.min(this.#balance + bytes, creditMax)
    if (this.#balance > 0) this.#granted.wake()
  }

  /** The last frame leaves now; what the store still delivers is dropped. */
  cancel(): void {
    if (this.#ended) return
    this.#ended = true
    this.#outbox.send({ id: this.#request.id, type: 'end', reason: 'canceled' })
    this.#controller.abort()
  }

  /** Ends it without a frame: the connection has gone. */
  drop(): void {
    this.#ended = true
    this.#controller.abort()
  }

  /** Resolves when nothing is left of the watch. */
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
      // Other watches of the connection may have filled it since this one asked. No await between this and the send.
      while (this.#outbox.full) await this.#outbox.drained(signal)
      if (this.#ended) return
      this.#send(next.value)
    }
  }

  #send(event: WatchEvent): void {
    const { id } = this.#request
    switch (event.type) {
      case 'append': {
        const { type, index, offset, seq, position, more, data } = event
        this.#spend(data.length)
        const rest = more ? { more, data } : { data }
        this.#outbox.send({ id, type, index, offset, seq, position, ...rest })
        return
      }
      case 'value':
        this.#spend(event.data?.length ?? 0)
        this.#outbox.send({ id, ...event })
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

  /** Waits for credit and for room in the socket; both, since one may go while the other comes. */
  async #room(signal: AbortSignal): Promise<void> {
    while (this.#balance <= 0 || this.#outbox.full) {
      const seen = this.#granted.count
      if (this.#balance <= 0) await this.#granted.wait(seen, signal)
      await this.#outbox.drained(signal)
    }
  }
}
