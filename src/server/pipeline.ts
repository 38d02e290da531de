/** The pipelined requests of one connection: those without a whole answer. HTTP/1.1 sends answers
 *  in the order of the requests, so work on several requests at once would only hold answers that
 *  cannot be sent yet. See rfc/12, rules 22 and 32.
 *  Invariant: only the oldest request is worked on. The next one begins after the end of its
 *  answer, in a later turn of the event loop. A request begins when the pace allows it. */

import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { batchSize, type Share } from './pace.js'

/** The largest number of requests of one connection that have no whole answer. One more ends the
 *  connection. */
export const pipelinedMax = 128
/** The number of requests of all connections without a whole answer above which one connection may have
 *  `crowdedMax` only. */
export const openMax = 4_096
/** The largest number of requests of one connection that have no whole answer, above `openMax`. */
export const crowdedMax = 16

/** The cost of a request, in bytes of a turn: about 300 µs of work. So a turn has at most 16. */
export const requestCost = batchSize

/** The pipelines of all connections of a server. Mutable; owned by its front. */
export class Pipelines {
  readonly #pipelines = new WeakMap<Socket, Pipeline>()
  readonly #shareOf: () => Share | undefined
  /** The number of requests of all connections that have no whole answer. */
  #open = 0

  /** `shareOf` returns the share of a new connection in the pace of requests; undefined if they have no
   *  pace. */
  constructor(shareOf: () => Share | undefined) {
    this.#shareOf = shareOf
  }

  /** Returns the pipeline of a connection, if it has had a request. */
  get(socket: Socket): Pipeline | undefined {
    return this.#pipelines.get(socket)
  }

  /** Returns the pipeline of a connection, which is made with its first request. */
  of(socket: Socket): Pipeline {
    const known = this.#pipelines.get(socket)
    if (known) return known
    const pipeline = new Pipeline(socket, this.#shareOf(), (change) => {
      this.#open += change
    })
    this.#pipelines.set(socket, pipeline)
    return pipeline
  }

  /** Returns the largest number of requests without a whole answer that a connection may have now. */
  get most(): number {
    return this.#open < openMax ? pipelinedMax : crowdedMax
  }
}

/** The pipeline of one connection. */
export class Pipeline {
  readonly #socket: Socket
  readonly #share: Share | undefined
  readonly #count: (change: number) => void
  /** The responses in the order of their requests, each with the function that begins its work. The
   *  first one is worked on. */
  readonly #open = new Map<ServerResponse, () => void>()
  /** True while the first request waits for the pace. */
  #waits = false
  #emptied: (() => void) | undefined

  /** `share`: the share of this connection in the pace of requests. Absent: they have no pace. `count`
   *  hears of each change of `size`. */
  constructor(socket: Socket, share: Share | undefined, count: (change: number) => void) {
    this.#socket = socket
    this.#share = share
    this.#count = count
  }

  /** The responses that are not whole, the oldest first. */
  get responses(): readonly ServerResponse[] {
    return [...this.#open.keys()]
  }

  /** True if every request has its whole answer. */
  get empty(): boolean {
    return this.#open.size === 0
  }

  /** The number of requests without a whole answer. */
  get size(): number {
    return this.#open.size
  }

  /** Calls `act` once every request has its whole answer, at once if none waits. The connection is
   *  destroyed if that takes longer than `ms`. Default: no bound. */
  whenEmpty(act: () => void, ms?: number): void {
    if (this.empty) {
      act()
      return
    }
    this.#emptied = act
    if (ms === undefined) return
    const timer = setTimeout(() => this.#socket.destroy(), ms)
    this.#socket.once('close', () => clearTimeout(timer))
  }

  /** Adds a request. `work` is called once, when its turn comes, unless the connection ends
   *  before. */
  add(response: ServerResponse, work: () => void): void {
    this.#open.set(response, work)
    this.#count(1)
    response.once('close', () => this.#remove(response))
    // A refusal would have to wait behind the other answers, while Node's parser reads on. So the
    // connection ends.
    if (this.#open.size > pipelinedMax) this.#socket.destroy()
    else if (this.#open.size === 1) this.#begin()
  }

  #remove(response: ServerResponse): void {
    const [first] = this.#open.keys()
    if (this.#open.delete(response)) this.#count(-1)
    if (first === response && !this.empty) setImmediate(() => this.#begin())
    if (!this.empty || !this.#emptied || this.#socket.destroyed) return
    this.#emptied()
    this.#emptied = undefined
  }

  /** Begins the work on the first request, at once or when it is the connection's turn. */
  #begin(): void {
    if (!this.#share || this.#share.tryTake()) this.#work()
    else if (!this.#waits) void this.#wait(this.#share)
  }

  async #wait(share: Share): Promise<void> {
    this.#waits = true
    await share.take()
    this.#waits = false
    this.#work()
  }

  #work(): void {
    const [work] = this.#open.values()
    if (!work || this.#socket.destroyed) return
    this.#share?.spend(requestCost)
    work()
  }
}
