/** The road of small requests: they share the client's websocket, many at once, and need no request
 *  of HTTP each. What is large, waits, or cannot be said in a frame goes over HTTP. See rfc/12,
 *  rule 37.
 *  Invariant: small writes reach the server in the order of their calls, on the socket or over HTTP.
 *  A read whose socket was lost is asked again; a write is sent once. */

import { joinAbort, onAbort } from '../base/abort.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { Wakeup } from '../base/wakeup.js'
import { canceled, TailraceError } from '../error.js'
import { type AnswerOf, type ArgsOf, isWaiting, type RequestSpec } from '../wire/request.js'
import { answerOf } from './call.js'
import { LostCall } from './calls.js'
import type { Connection } from './connection.js'
import { Fifo } from './fifo.js'
import { type CallArgs, callArgsOf } from './small.js'

/** The largest number of writes, and of reads, that have no answer yet on the socket. Others wait
 *  for their turn. */
export const inFlightMax = 1_024
/** The largest number of reads that wait for their turn. Others go over HTTP. */
const queuedReadsMax = 65_536
/** The largest size of the small writes that wait for their turn, in bytes; above it EBUSY. */
export const queuedSizeMax = 256 * 1024 * 1024
/** The size that each of them counts besides its own, in bytes. */
const queuedCost = 512
/** The time after a websocket did not open in which none is opened for requests, in ms. */
const reopenMs = 5_000

/** A write that waits for its turn. */
type Queued = {
  readonly size: number
  readonly isOver: () => boolean
  /** Sends it on the open socket. */
  readonly send: () => void
  /** Sends it over HTTP; resolves when it is answered. Never throws. */
  readonly overHttp: () => Promise<void>
}

/** A write on its way. */
export type RoadWrite<R extends RequestSpec> = {
  readonly spec: R
  readonly args: ArgsOf<R>
  readonly idempotencyKey: string | undefined
  readonly signal: AbortSignal | undefined
}

export class Road {
  readonly #socket: Connection
  /** False if all requests go over HTTP. */
  readonly enabled: boolean
  /** The number of requests so far. */
  #asked = 0
  /** No socket is opened for requests before this time, by `performance.now()`. */
  #notBefore = 0
  readonly #queue = new Fifo<Queued>()
  #queuedSize = 0
  #pumping = false
  /** The number of writes on the socket that have no answer yet. */
  #unanswered = 0
  /** The number of reads on the socket that have no answer yet. */
  #reading = 0
  readonly #waitingReads = new Fifo<Deferred<void>>()
  /** Woken by each answer to a write. */
  readonly #answered = new Wakeup()

  constructor(socket: Connection, { enabled }: { readonly enabled: boolean }) {
    this.#socket = socket
    this.enabled = enabled
  }

  /** Asks a request that changes nothing. Returns undefined if it has to go over HTTP: no socket is
   *  open, the request waits, it is not small, or the socket was lost before the answer. Throws what
   *  the server says, ETIMEDOUT, ECANCELED. */
  async read<R extends RequestSpec>(
    spec: R,
    args: ArgsOf<R>,
    signal: AbortSignal | undefined,
  ): Promise<AnswerOf<R> | undefined> {
    if (!this.enabled || isWaiting(spec, args)) return undefined
    this.#asked++
    if (!this.#socket.isOpen) {
      void this.#open()
      return undefined
    }
    const said = callArgsOf(args)
    if (!said || this.#waitingReads.length >= queuedReadsMax) return undefined
    await this.#beginRead(signal)
    try {
      if (!this.#socket.isOpen) return undefined
      const body = await this.#socket.call(frameOf(spec, said), { signal, reads: true })
      return answerOf(spec, body)
    } catch (error) {
      if (error instanceof LostCall) return undefined
      throw error
    } finally {
      this.#endRead()
    }
  }

  async #beginRead(signal: AbortSignal | undefined): Promise<void> {
    if (this.#reading < inFlightMax) {
      this.#reading++
      return
    }
    const turn = deferred<void>()
    this.#waitingReads.add(turn)
    try {
      await joinAbort(turn.promise, signal)
    } catch (error) {
      void turn.promise.then(() => this.#endRead())
      throw error
    }
  }

  /** Gives the place of a read to the next one that waits. */
  #endRead(): void {
    const next = this.#waitingReads.take()
    if (next) next.resolve()
    else this.#reading--
  }

  /** Sends a write. If it is small it takes its turn behind the small writes before it; otherwise
   *  `overHttp` sends it at once. Throws what the server says, and what `overHttp` throws; EUNKNOWN
   *  (the socket was lost, or silent for the client's time-out), ECANCELED, EBUSY. */
  write<R extends RequestSpec>(
    write: RoadWrite<R>,
    overHttp: (args: ArgsOf<R>) => Promise<AnswerOf<R>>,
  ): Promise<AnswerOf<R>> {
    const said = this.enabled ? callArgsOf(write.args) : undefined
    if (!said) return overHttp(write.args)
    if (write.signal?.aborted) return Promise.reject(canceled(write.signal))
    this.#asked++
    if (!this.#pumping && this.#canSend) return this.#send(write, said)
    return this.#enqueue(write, said, overHttp)
  }

  get #canSend(): boolean {
    return this.#socket.isOpen && this.#unanswered < inFlightMax
  }

  #send<R extends RequestSpec>(write: RoadWrite<R>, said: CallArgs): Promise<AnswerOf<R>> {
    const { spec, signal, idempotencyKey } = write
    const keyed = idempotencyKey === undefined ? {} : { idempotencyKey }
    this.#unanswered++
    const sent = this.#socket.call({ ...frameOf(spec, said), ...keyed }, { signal, reads: false })
    return this.#answer(spec, sent)
  }

  async #answer<R extends RequestSpec>(spec: R, sent: Promise<unknown>): Promise<AnswerOf<R>> {
    try {
      return answerOf(spec, await sent)
    } catch (error) {
      throw error instanceof LostCall ? unknownBy(error) : error
    } finally {
      this.#unanswered--
      this.#answered.wake()
    }
  }

  async #enqueue<R extends RequestSpec>(
    write: RoadWrite<R>,
    said: CallArgs,
    overHttp: (args: ArgsOf<R>) => Promise<AnswerOf<R>>,
  ): Promise<AnswerOf<R>> {
    const size = said.size + queuedCost
    if (this.#queuedSize + size > queuedSizeMax) {
      const message = `${this.#queue.length} writes of this client wait for the server: send this one again later`
      throw new TailraceError('EBUSY', message)
    }
    this.#queuedSize += size
    const { signal } = write
    const answer: Deferred<AnswerOf<R>> = deferred()
    let over = false
    const settle = (sent: Promise<AnswerOf<R>>) => sent.then(answer.resolve, answer.reject)
    const endAbort = onAbort(signal, () => {
      over = true
      if (signal) answer.reject(canceled(signal))
    })
    this.#queue.add({
      size,
      isOver: () => over,
      send: () => {
        endAbort()
        void settle(this.#send(write, said))
      },
      overHttp: () => {
        endAbort()
        // The caller may have changed the bytes of its own arguments meanwhile.
        return settle(overHttp({ ...said.body, ...scopeOf(said) } as ArgsOf<R>))
      },
    })
    if (!this.#pumping) void this.#pump()
    return answer.promise
  }

  /** Sends what waits, in order: on the socket once it is open, until then over HTTP, one after the
   *  other. Never throws. */
  async #pump(): Promise<void> {
    this.#pumping = true
    while (this.#queue.length > 0) {
      // A write over HTTP must not overtake one that is still on the socket.
      if (this.#canSend) this.#next()?.send()
      else if (this.#unanswered > 0) await this.#answered.wait(this.#answered.count)
      else {
        void this.#open()
        await this.#next()?.overHttp()
      }
    }
    this.#pumping = false
  }

  /** Takes the next write off the queue; undefined if it was canceled. */
  #next(): Queued | undefined {
    const next = this.#queue.take()
    this.#queuedSize -= next?.size ?? 0
    return next?.isOver() ? undefined : next
  }

  /** Opens the socket, unless a try failed just before. The first request of a client opens none:
   *  most programs that send one request send no other. */
  async #open(): Promise<void> {
    if (this.#asked < 2 || performance.now() < this.#notBefore) return
    this.#notBefore = performance.now() + reopenMs
    if (await this.#socket.open()) this.#notBefore = 0
  }
}

function frameOf({ name: op }: RequestSpec, { namespace, body }: CallArgs) {
  return namespace === undefined ? { op, body } : { op, namespace, body }
}

function scopeOf({ namespace }: CallArgs): { readonly namespace?: string } {
  return namespace === undefined ? {} : { namespace }
}

/** Makes the error of a write whose socket was lost. */
function unknownBy({ cause }: LostCall): TailraceError {
  // The server does nothing for a peer that it did not admit.
  if (cause.code === 'EUNAUTH' || cause.code === 'EMISCONFIGURED') return cause
  return new TailraceError('EUNKNOWN', `${cause.message}: look whether it was done`, { cause })
}
