/** Counts of what a server does: requests by their outcome, refusals, events of watches. See rfc/29, rule 3.
 *  Invariant: a count is an integer, so that it costs nothing while nobody looks. Times are taken only
 *  while there is an observer. */

import type { WatchEvent } from '../api/watch.js'
import { type Code, toTailraceError } from '../error.js'

/** The way of a request: HTTP, or a frame of the websocket. */
export type Way = 'http' | 'websocket'

/** Takes the times, in seconds, while somebody looks at them. Its calls return at once, and never
 *  throw. */
export type TimeObserver = {
  readonly requestTook: (name: string, seconds: number) => void
  /** `seconds`: from the wake of a watch that waited until its event was given to the socket. */
  readonly deliveryTook: (seconds: number) => void
}

/** The counts of one request by one way. Mutable; written by the routes. */
export class RequestMeter {
  readonly name: string
  readonly way: Way
  /** The number of requests that were answered without an error. */
  answered = 0
  /** The numbers of errors, by their codes. */
  readonly failed = new Map<Code, number>()
  readonly #meters: Meters

  constructor(meters: Meters, name: string, way: Way) {
    this.#meters = meters
    this.name = name
    this.way = way
  }

  /** Runs the work of a request, and counts its outcome. Throws what the work throws. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    const begun = this.begin()
    try {
      const answer = await work()
      this.answer(begun)
      return answer
    } catch (error) {
      this.fail(error, begun)
      throw error
    }
  }

  /** Returns the time at which a request begins, while somebody looks at times. */
  begin(): number | undefined {
    return this.#meters.timed()
  }

  /** Counts an answer. `begun`: the result of `begin`, if the request took a time. */
  answer(begun?: number): void {
    this.answered++
    if (begun !== undefined) this.#meters.requestTook(this.name, begun)
  }

  /** Counts the error of a request. `begun`: see `answer`. */
  fail(thrown: unknown, begun?: number): void {
    const { code } = toTailraceError(thrown)
    this.failed.set(code, (this.failed.get(code) ?? 0) + 1)
    if (begun !== undefined) this.#meters.requestTook(this.name, begun)
  }
}

/** The counts of one server. Mutable; shared by its routes, connections and watches. */
export class Meters {
  readonly requests: RequestMeter[] = []
  /** The numbers of requests that were refused by their heads, by the codes of the errors. */
  readonly refused = new Map<Code, number>()
  /** The number of events that watches were sent, and the bytes of their values. */
  events = 0
  eventBytes = 0
  /** Present once somebody looks at times. */
  observer: TimeObserver | undefined
  readonly #monotonic: () => number

  /** `monotonic` returns a time in ms. */
  constructor(monotonic: () => number) {
    this.#monotonic = monotonic
  }

  /** Makes the counts of a request. */
  request(name: string, way: Way): RequestMeter {
    const meter = new RequestMeter(this, name, way)
    this.requests.push(meter)
    return meter
  }

  refuse(code: Code): void {
    this.refused.set(code, (this.refused.get(code) ?? 0) + 1)
  }

  /** Counts an event of a watch. `woken`: the result of `timed` when the watch was woken for it. */
  deliver(event: WatchEvent, woken: number | undefined): void {
    this.events++
    if ('data' in event) this.eventBytes += event.data?.length ?? 0
    if (woken !== undefined) this.observer?.deliveryTook((this.#monotonic() - woken) / 1_000)
  }

  /** Returns the time of a monotonic clock while somebody looks at times. */
  timed(): number | undefined {
    return this.observer && this.#monotonic()
  }

  /** Tells how long a request took. `begun`: the result of `timed`. */
  requestTook(name: string, begun: number): void {
    this.observer?.requestTook(name, (this.#monotonic() - begun) / 1_000)
  }
}
