/** The road of small requests: they share the client's websocket, many at once, and need no request
 *  of HTTP each. What is large, or cannot be said in a frame, goes over HTTP. See rfc/12, rule 37.
 *  Invariant: small writes reach the server in the order of their calls, on the socket or over HTTP,
 *  and land in it. A read whose socket was lost is asked again; a write is sent once. */

import { joinAbort, onAbort } from '../base/abort.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { startTimer } from '../base/timer.js'
import { type Code, canceled, TailraceError } from '../error.js'
import { type AnswerOf, type ArgsOf, isWaiting, type RequestSpec } from '../wire/request.js'
import { answerOf } from './call.js'
import type { SocketCall } from './calls.js'
import type { Connection } from './connection.js'
import { Fifo } from './fifo.js'
import type { Http } from './http.js'
import { copyOf, smallSizeMax, smallSizeOf } from './small.js'
import type { ClientTracing } from './transport.js'

/** The largest number of writes, and of reads, that have no answer yet on the socket. Others wait
 *  for their turn. */
export const inFlightMax = 1_024
/** The size of the writes without an answer, in bytes, from which on others wait for their turn. */
const inFlightSizeMax = 16 * 1024 * 1024
/** The size of a write in bytes from which on it counts for that. */
const countedSizeMin = 4 * 1024
/** The largest number of reads that wait for their turn. Others go over HTTP. */
const queuedReadsMax = 65_536
/** The largest size of the small writes that wait for their turn, in bytes; above it EBUSY. */
export const queuedSizeMax = 256 * 1024 * 1024
/** The size that each of them counts besides its own, in bytes. */
const queuedCost = 512
/** The time between the second request of a client and the opening of its websocket, in ms. A command
 *  that sends two or three requests has ended by then, and need not load what a websocket takes. */
const openAfterMs = 10
/** The time after a websocket did not open in which none is opened for requests, in ms. */
const reopenMs = 5_000

/** A request, and how to make its result. REQUIRES: the request is served over the websocket
 *  (`isCall`). */
export type RoadRequest<R extends RequestSpec, T> = {
  readonly spec: R
  readonly namespace?: string | undefined
  /** All arguments but the namespace. A field that is undefined counts as left out. */
  readonly body: object
  readonly idempotencyKey?: string | undefined
  /** The place of the request in a trace. Default: that of a span below the active one. */
  readonly trace?: string | undefined
  readonly idempotencySince?: number | undefined
  readonly signal?: AbortSignal | undefined
  /** Makes the result of the answer. It may throw. */
  readonly take: (answer: AnswerOf<R>) => T
  /** Sends the request over HTTP. `body` is the one above, or a copy of it. */
  readonly overHttp: (body: object) => Promise<T>
  /** The error of a request that reads after which it is asked over HTTP. */
  readonly overHttpAfter?: Code
  /** Called just before the request is sent on the socket. */
  readonly onSend?: () => void
}

/** A write that waits for its turn. */
type Queued = {
  readonly spec: RequestSpec
  readonly size: number
  readonly isOver: () => boolean
  /** Sends it on the open socket. */
  readonly send: () => void
  /** Sends it over HTTP; resolves when it is answered. Never throws. */
  readonly overHttp: () => Promise<void>
}

export class Road {
  readonly #http: Http
  readonly #socket: Connection
  /** False if all requests go over HTTP. */
  readonly enabled: boolean
  readonly #tracing: ClientTracing | undefined
  /** The number of requests so far. */
  #asked = 0
  /** No socket is opened for requests before this time, by `performance.now()`. */
  #notBefore = 0
  /** Stops the timer that opens the socket. It is there until the socket is open, or has not
   *  opened. */
  #stopOpening: (() => void) | undefined
  readonly #queue = new Fifo<Queued>()
  #queuedSize = 0
  /** True while a small write is on its way over HTTP. */
  #onHttp = false
  /** The number of promises for which all small writes wait. */
  #holds = 0
  /** The number of writes on the socket that have no answer yet, and the kind of the last one. */
  #unanswered = 0
  #unansweredSize = 0
  #lastSpec: RequestSpec | undefined
  /** The number of reads on the socket that have no answer yet. */
  #reading = 0
  readonly #waitingReads = new Fifo<Deferred<void>>()
  readonly #endRead = () => this.#passOnRead()
  readonly #endWrite = () => {
    this.#unanswered--
    this.#pump()
  }

  constructor(
    http: Http,
    socket: Connection,
    {
      enabled,
      tracing,
    }: { readonly enabled: boolean; readonly tracing?: ClientTracing | undefined },
  ) {
    this.#http = http
    this.#socket = socket
    this.enabled = enabled
    this.#tracing = tracing
  }

  /** Sends a request whose result is its answer; see `ask`. */
  call<R extends RequestSpec>(
    spec: R,
    args: ArgsOf<R>,
    signal?: AbortSignal,
  ): Promise<AnswerOf<R>> {
    const isScoped = spec.namespaced === true
    const { namespace, ...others } = isScoped ? (args as { readonly namespace?: string }) : {}
    return this.ask({
      spec,
      namespace,
      body: isScoped ? others : args,
      signal,
      take: unchanged,
      overHttp: (body) =>
        this.#http.call(spec, (isScoped ? { ...body, namespace } : body) as ArgsOf<R>, { signal }),
    })
  }

  /** Sends a small request on the socket, if it is open, and any other over HTTP. A small write
   *  takes its turn behind the small writes before it. Throws what the server says, what `take` and
   *  `overHttp` throw, ECANCELED; of a write EUNKNOWN (the socket was lost, or silent for the
   *  client's time-out), EBUSY; of a read ETIMEDOUT. */
  ask<R extends RequestSpec, T>(asking: RoadRequest<R, T>): Promise<T> {
    const span = this.#tracing?.sent(asking.spec.name)
    if (!span) return this.#ask(asking)
    return span.during(() => this.#ask({ trace: span.parent, ...asking }))
  }

  #ask<R extends RequestSpec, T>(asking: RoadRequest<R, T>): Promise<T> {
    const { spec, body, signal } = asking
    const size = this.enabled ? sizeOf(asking) : undefined
    if (size === undefined) return asking.overHttp(body)
    if (signal?.aborted) return Promise.reject(canceled(signal))
    this.#asked++
    if (spec.right === 'read') return this.#read(asking)
    // It would hold up those behind it for as long as it lasts.
    if (isWaiting(spec, body as Readonly<Record<string, unknown>>)) return asking.overHttp(body)
    if (this.#queue.length === 0 && this.#canSend(spec)) return this.#sendWrite(asking, size)
    return this.#enqueue(asking, size)
  }

  /** Sends no small write before a promise has settled, so that a write which needs it keeps its
   *  place. REQUIRES: the promise never rejects. */
  hold(until: Promise<unknown>): void {
    if (!this.enabled) return
    this.#holds++
    void until.then(() => {
      this.#holds--
      this.#pump()
    })
  }

  #read<R extends RequestSpec, T>(asking: RoadRequest<R, T>): Promise<T> {
    const { spec, body } = asking
    if (!this.#socket.isOpen) {
      this.#open()
      return asking.overHttp(body)
    }
    if (isWaiting(spec, body as Readonly<Record<string, unknown>>)) {
      return this.#send(asking, { waits: true, ended: nothing })
    }
    if (this.#reading < inFlightMax) {
      this.#reading++
      return this.#send(asking, { waits: false, ended: this.#endRead })
    }
    if (this.#waitingReads.length >= queuedReadsMax) return asking.overHttp(body)
    return this.#readLater(asking)
  }

  async #readLater<R extends RequestSpec, T>(asking: RoadRequest<R, T>): Promise<T> {
    const turn = deferred<void>()
    this.#waitingReads.add(turn)
    try {
      await joinAbort(turn.promise, asking.signal)
    } catch (error) {
      void turn.promise.then(this.#endRead)
      throw error
    }
    if (this.#socket.isOpen) return this.#send(asking, { waits: false, ended: this.#endRead })
    this.#passOnRead()
    return asking.overHttp(asking.body)
  }

  /** Gives the place of a read to the next one that waits. */
  #passOnRead(): void {
    const next = this.#waitingReads.take()
    if (next) next.resolve()
    else this.#reading--
  }

  #sendWrite<R extends RequestSpec, T>(asking: RoadRequest<R, T>, size: number): Promise<T> {
    this.#unanswered++
    this.#lastSpec = asking.spec
    if (size < countedSizeMin) return this.#send(asking, { waits: false, ended: this.#endWrite })
    this.#unansweredSize += size
    const ended = () => {
      this.#unansweredSize -= size
      this.#endWrite()
    }
    return this.#send(asking, { waits: false, ended })
  }

  #send<R extends RequestSpec, T>(asking: RoadRequest<R, T>, options: AskedOptions): Promise<T> {
    const { spec, namespace, idempotencyKey, idempotencySince, trace, body } = asking
    const asked = new Asked(asking, options)
    asking.onSend?.()
    const once = { idempotencyKey, idempotencySince }
    this.#socket.call({ op: spec.name, namespace, ...once, trace, body }, asked)
    return asked.result
  }

  /** True if a write may be sent on the socket now: no write is on its way that could land behind
   *  it. */
  #canSend(spec: RequestSpec): boolean {
    if (this.#onHttp || this.#holds > 0 || !this.#socket.isOpen) return false
    if (this.#unanswered === 0) return true
    if (this.#unanswered >= inFlightMax || this.#unansweredSize >= inFlightSizeMax) return false
    return spec.inOrder === true && spec === this.#lastSpec
  }

  #enqueue<R extends RequestSpec, T>(asking: RoadRequest<R, T>, askedSize: number): Promise<T> {
    const size = askedSize + queuedCost
    if (this.#queuedSize + size > queuedSizeMax) {
      const message = `${this.#queue.length} writes of this client wait for the server: send this one again later`
      return Promise.reject(new TailraceError('EBUSY', message))
    }
    this.#queuedSize += size
    const { spec, signal } = asking
    // The caller may change its own arguments meanwhile.
    const body = copyOf(asking.body)
    const result: Deferred<T> = deferred()
    let over = false
    const settle = (sent: Promise<T>) => sent.then(result.resolve, result.reject)
    const endAbort = onAbort(signal, () => {
      over = true
      if (signal) result.reject(canceled(signal))
    })
    this.#queue.add({
      spec,
      size,
      isOver: () => over,
      send: () => {
        endAbort()
        void settle(this.#sendWrite({ ...asking, body }, askedSize))
      },
      overHttp: () => {
        endAbort()
        return settle(asking.overHttp(body))
      },
    })
    this.#pump()
    return result.promise
  }

  /** Sends the writes that wait, in order, as far as they may be sent now: on the socket, or one
   *  over HTTP if the socket is not open. Called after each change. Never throws. */
  #pump(): void {
    for (let next = this.#queue.first; next; next = this.#queue.first) {
      const isOver = next.isOver()
      const canSend = !isOver && this.#canSend(next.spec)
      if (!isOver && !canSend && (this.#onHttp || this.#holds > 0 || this.#unanswered > 0)) return
      this.#queue.take()
      this.#queuedSize -= next.size
      if (isOver) continue
      if (canSend) next.send()
      else void this.#sendOverHttp(next)
    }
  }

  async #sendOverHttp(write: Queued): Promise<void> {
    this.#onHttp = true
    this.#open()
    await write.overHttp()
    this.#onHttp = false
    this.#pump()
  }

  /** Stops what would open the socket. REQUIRES: no request is asked any more. */
  dispose(): void {
    this.#stopOpening?.()
  }

  /** Opens the socket in a while, unless a try failed just before. The first request of a client
   *  opens none: most programs that send one request send no other. */
  #open(): void {
    if (this.#asked < 2 || this.#stopOpening || performance.now() < this.#notBefore) return
    this.#stopOpening = startTimer(openAfterMs, () => void this.#openNow())
  }

  async #openNow(): Promise<void> {
    const isOpen = await this.#socket.open()
    this.#stopOpening = undefined
    if (!isOpen) this.#notBefore = performance.now() + reopenMs
  }
}

type AskedOptions = {
  readonly waits: boolean
  /** Called when the request has its result, or has gone over to HTTP. */
  readonly ended: () => void
}

/** A request that was sent on the socket. */
class Asked<R extends RequestSpec, T> implements SocketCall {
  readonly reads: boolean
  readonly waits: boolean
  readonly #asking: RoadRequest<R, T>
  readonly #ended: () => void
  readonly #result = deferred<T>()

  constructor(asking: RoadRequest<R, T>, { waits, ended }: AskedOptions) {
    this.reads = asking.spec.right === 'read'
    this.waits = waits
    this.#asking = asking
    this.#ended = ended
  }

  get signal(): AbortSignal | undefined {
    return this.#asking.signal
  }

  get result(): Promise<T> {
    return this.#result.promise
  }

  answered(body: unknown): void {
    const { spec, take } = this.#asking
    try {
      this.#result.resolve(take(answerOf(spec, body)))
    } catch (error) {
      this.#result.reject(error)
    }
    this.#ended()
  }

  failed(error: TailraceError): void {
    if (this.#isForHttp(error)) this.#overHttp()
    else this.#result.reject(error)
    this.#ended()
  }

  lost(cause: TailraceError): void {
    if (this.reads) this.#overHttp()
    else this.#result.reject(unknownBy(cause))
    this.#ended()
  }

  /** True if a request that reads has to be asked over HTTP after this error. ECLOSED: the server
   *  stops, and another one may answer. EBUSY of a wait: this connection has too many. */
  #isForHttp({ code }: TailraceError): boolean {
    if (!this.reads) return false
    return (
      code === 'ECLOSED' || (code === 'EBUSY' && this.waits) || code === this.#asking.overHttpAfter
    )
  }

  #overHttp(): void {
    const { body, overHttp } = this.#asking
    overHttp(body).then(this.#result.resolve, this.#result.reject)
  }
}

/** Returns the size of a request that the socket takes; undefined for any other. */
function sizeOf({
  namespace = '',
  idempotencyKey = '',
  body,
}: Pick<RoadRequest<RequestSpec, unknown>, 'namespace' | 'idempotencyKey' | 'body'>) {
  if (typeof namespace !== 'string' || !namespace.isWellFormed()) return undefined
  const size = smallSizeOf(body)
  if (size === undefined) return undefined
  const whole = size + namespace.length + idempotencyKey.length
  return whole > smallSizeMax ? undefined : whole
}

function unchanged<T>(answer: T): T {
  return answer
}

function nothing(): void {}

/** Makes the error of a write whose socket was lost. */
function unknownBy(cause: TailraceError): TailraceError {
  // The server does nothing for a peer that it did not admit.
  if (cause.code === 'EUNAUTH' || cause.code === 'EMISCONFIGURED') return cause
  return new TailraceError('EUNKNOWN', `${cause.message}: look whether it was done`, { cause })
}
