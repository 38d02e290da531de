/** One watch of one connection: it sends the events of a watch of the store, within the client's
 *  credit and in its turn. See rfc/12, rules 11, 12 and 22.
 *  Invariant: an event is asked for only while the balance is above 0 and the socket has room, so
 *  that a slow client costs its position and an integer. The last frame is the only `end` or
 *  `error`. */

import { primary } from '../api/namespace.js'
import type {
  AppendEvent,
  ChangesPosition,
  Position,
  ValueEvent,
  WatchEvent,
} from '../api/watch.js'
import { eventSpan } from '../base/tracing.js'
import { toTailraceError } from '../error.js'
import type { WatchReader } from '../watch/reader.js'
import {
  changesCost,
  creditDefault,
  creditMax,
  frameCost,
  type RequestFrame,
} from '../wire/frames.js'
import { errorBodyOf } from '../wire/status.js'
import type { Deliverer, Deliveries } from './deliveries.js'
import type { Meters } from './meters.js'
import type { Outbox } from './outbox.js'
import type { Share } from './pace.js'
import type { Traces } from './traces.js'

/** The smallest size of an event, in bytes, whose buffer is worth being used again. */
const releasedSizeMin = 64 * 1024

/** The frame that asks for a watch. */
export type WatchRequest = Extract<RequestFrame, { readonly op: 'watch' }>

/** The parts of a connection that all its watches share. */
export type WatchPorts = {
  readonly meters: Meters
  readonly traces: Traces
  readonly outbox: Outbox
  readonly deliveries: Deliveries
  /** The connection's share of the event loop. */
  readonly share: Share
  /** Called when a watch has ended. */
  readonly ended: (watch: ServedWatch) => void
}

/** A watch of one connection. */
export class ServedWatch implements Deliverer {
  readonly id: number
  readonly #key: string
  readonly #namespace: string
  readonly #reader: WatchReader
  readonly #ports: WatchPorts
  /** The event that was loaded for the next turn. */
  #loaded: WatchEvent | undefined
  /** True while the next event is being loaded, or waited for. */
  #loading = false
  /** The credit that is left, in bytes. It may be below 0 by one frame. */
  #balance: number
  /** The position after the last event that was sent; undefined before, and in mode value. */
  #position: Position | ChangesPosition | undefined
  /** The time of its wake, while somebody looks at times. */
  #woken: number | undefined
  /** True once the last frame was sent, or the connection has closed. */
  #ended = false

  /** `reader` is that of the watch which the frame asks for. */
  constructor(
    { id, key, namespace = primary, credit }: WatchRequest,
    reader: WatchReader,
    ports: WatchPorts,
  ) {
    this.id = id
    this.#key = key
    this.#namespace = namespace
    this.#reader = reader
    this.#ports = ports
    this.#balance = Math.min(credit ?? creditDefault, creditMax)
  }

  /** True if the client has given no credit for another event. */
  get isStarved(): boolean {
    return this.#balance <= 0
  }

  /** Begins to deliver. */
  start(): void {
    this.#ports.deliveries.add(this)
  }

  /** Adds credit, up to `creditMax`. */
  grant(bytes: number): void {
    this.#balance = Math.min(this.#balance + bytes, creditMax)
    if (this.#balance > 0 && !this.#loading) this.#ports.deliveries.add(this)
  }

  deliver(): boolean {
    if (this.#ended || this.#loading || this.#balance <= 0) return false
    try {
      const event = this.#loaded ?? this.#reader.take()
      this.#loaded = undefined
      if (event) this.#send(event)
      else if (!this.#reader.rest(this.#wake)) void this.#load()
      return event !== undefined && !this.#ended
    } catch (error) {
      this.abort(error)
      return false
    }
  }

  /** Ends the watch with a frame `end`. No later event is sent. */
  cancel(): void {
    if (this.#ended) return
    this.#ports.outbox.send({ id: this.id, type: 'end', reason: 'canceled' })
    this.drop()
  }

  /** Ends the watch with a frame `error`. If the server stops, the frame has the position to go on
   *  from. */
  abort(reason: unknown): void {
    if (this.#ended) return
    const error = errorBodyOf(toTailraceError(reason))
    const position = error.code === 'ECLOSED' ? this.#position : undefined
    const failed = position && { failed: { state: { position } } }
    this.#ports.outbox.send({ id: this.id, type: 'error', ...error, ...failed })
    this.drop()
  }

  /** Ends the watch without a frame: the connection has closed. */
  drop(): void {
    if (this.#ended) return
    this.#ended = true
    this.#loaded = undefined
    this.#reader.end()
    this.#ports.ended(this)
  }

  readonly #wake = () => {
    if (this.#ended) return
    this.#woken = this.#ports.meters.timed()
    this.#ports.deliveries.add(this)
  }

  /** Loads the next event, or waits for it. Never throws: an error is the last frame. */
  async #load(): Promise<void> {
    this.#loading = true
    try {
      this.#loaded = await this.#reader.next()
    } catch (error) {
      this.abort(error)
      return
    }
    this.#loading = false
    if (this.#loaded) this.#ports.deliveries.add(this)
    else this.drop()
  }

  /** Returns the place of the event in the trace of its write, if it has one: a span below that. */
  #traceOf(event: AppendEvent | ValueEvent): string | undefined {
    const write = this.#ports.traces.of(this.#namespace, this.#key, event)
    return write && eventSpan('PRODUCER', 'deliver', write)
  }

  #send(event: WatchEvent): void {
    const { id } = this
    const { meters, outbox, share } = this.#ports
    meters.deliver(event, this.#woken)
    this.#woken = undefined
    if ('position' in event) this.#position = event.position
    switch (event.type) {
      case 'append':
      case 'value': {
        const size = event.data?.length ?? 0
        this.#balance -= size + frameCost
        share.spend(size)
        const trace = this.#traceOf(event)
        if (size < releasedSizeMin) outbox.sendEvent(event, id, { trace })
        else outbox.sendEvent(event, id, { trace, done: () => this.#reader.release(event) })
        return
      }
      case 'lease':
        this.#balance -= frameCost
        share.spend(0)
        outbox.send({ id, ...event })
        return
      case 'changes': {
        const cost = changesCost(event.entries)
        this.#balance -= cost
        share.spend(cost)
        outbox.send({ id, ...event })
        return
      }
      case 'end':
        outbox.send({ id, ...event })
        this.drop()
        return
      case 'live':
        outbox.send({ id, ...event })
        return
      default:
        event satisfies never
    }
  }
}
