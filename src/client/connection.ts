/** The one websocket of a client, shared by its watches: opened for the first, closed a while after
 *  the last, opened again when it drops. See rfc/12.
 *  Invariant: a watch that was added is running on the open socket, or will be as soon as one is
 *  open, until it is removed or told why it ended. One loop (`#run`) alone opens sockets. */

import type { Backoff } from '../api/connect.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { onAbort } from '../base/on-abort.js'
import { pause, startTimer } from '../base/timer.js'
import { isCode, TailraceError, toTailraceError } from '../error.js'
import {
  parseResponse,
  type RequestFrame,
  type ResponseFrame,
  subprotocol,
} from '../wire/frames.js'
import { parseErrorBody } from '../wire/status.js'
import { readAnswer } from './answer.js'
import { delayOf } from './backoff.js'
import { closedByDispose, type Http, unauthorized } from './http.js'
import type { Socket, Transport } from './transport.js'

/** The socket stays open this long after its last watch ended. */
export const idleMs = 2_000
/** The socket's own frames; watches count from 1. */
const noId = 0
/** The close code of a peer that does not speak the subprotocol, see rfc/12. */
const protocolError = 1002

/** A watch as the connection sees it. */
export type WatchStream = {
  /** What opens it on a new socket, from where it stands. */
  request(id: number): RequestFrame
  /** Append, value and live frames, and the end. */
  received(frame: Delivery): void
  /** It is over, and no more on the connection. */
  failed(error: TailraceError): void
}

export type Delivery = Extract<
  ResponseFrame,
  { readonly type: 'append' | 'value' | 'lease' | 'live' | 'end' }
>

/** What the codec of frames gives: loaded with the first watch, so that other commands start fast. */
type Framing = {
  readonly encode: (request: RequestFrame) => Uint8Array
  readonly decode: (frame: Uint8Array) => ResponseFrame
}

type ConnectionOptions = {
  readonly token: string | undefined
  readonly reconnect: boolean
  readonly backoff: Backoff
  readonly random: () => number
  /** Told whether the server was reached, with each frame and each lost socket. */
  readonly reached: (online: boolean) => void
}

export class Connection {
  readonly #transport: Transport
  readonly #http: Http
  readonly #options: ConnectionOptions
  /** Every watch that is not over, and its id on the socket that is open. */
  readonly #streams = new Map<WatchStream, number>()
  readonly #byId = new Map<number, WatchStream>()
  #lastId = noId
  /** The open socket, its codec, and what ends its session. */
  #session: { readonly socket: Socket; readonly framing: Framing; authId: number } | undefined
  #over: Deferred<never> = deferred()
  /** The loop, while there is one, and what ends it. */
  #running: { readonly ended: Promise<void>; readonly abort: AbortController } | undefined
  #stopIdleTimer: (() => void) | undefined
  /** In a row, since a frame came in. */
  #failures = 0
  #disposed = false

  constructor(transport: Transport, http: Http, options: ConnectionOptions) {
    this.#transport = transport
    this.#http = http
    this.#options = options
  }

  add(stream: WatchStream): void {
    if (this.#disposed) {
      stream.failed(closedByDispose())
      return
    }
    this.#stopIdleTimer?.()
    this.#stopIdleTimer = undefined
    this.#streams.set(stream, noId)
    if (this.#session) this.#start(stream)
    else this.#run()
  }

  /** Nothing more comes for it. Does nothing if it is over. */
  remove(stream: WatchStream): void {
    const id = this.#streams.get(stream)
    if (id === undefined) return
    if (id !== noId) this.#send({ id, op: 'cancel' })
    this.#forget(stream)
  }

  /** Grants bytes to a watch; does nothing while it is not on a socket, where it starts anew. */
  grant(stream: WatchStream, bytes: number): void {
    const id = this.#streams.get(stream)
    if (id !== undefined && id !== noId) this.#send({ id, op: 'credit', bytes })
  }

  /** Every watch fails with ECLOSED. Resolves when nothing runs here any more. */
  async dispose(): Promise<void> {
    this.#disposed = true
    this.#stopIdleTimer?.()
    this.#failAll(closedByDispose())
    const running = this.#running
    running?.abort.abort()
    await running?.ended
  }

  #run(): void {
    if (this.#running) return
    const abort = new AbortController()
    const running = { abort, ended: this.#loop(abort.signal) }
    this.#running = running
  }

  /** Never throws: what went wrong is what the watches are told. */
  async #loop(signal: AbortSignal): Promise<void> {
    // A turn of its own, so that `#running` is set before anything here looks at it.
    await undefined
    while (!signal.aborted && this.#streams.size > 0) {
      try {
        await this.#serve(signal)
      } catch (error) {
        if (signal.aborted) break
        const failure = this.#explained(toTailraceError(error))
        if (this.#isPassing(failure)) this.#options.reached(false)
        else this.#failAll(lost(failure))
      }
      this.#failures++
      if (this.#streams.size > 0) await this.#wait(signal)
    }
    this.#running = undefined
    // Watches that came while the loop was being ended by the one before them get a new one.
    if (!this.#disposed && this.#streams.size > 0) this.#run()
  }

  async #wait(signal: AbortSignal): Promise<void> {
    const { backoff, random } = this.#options
    try {
      await pause(delayOf(backoff, this.#failures, random()), signal)
    } catch {
      // Aborted: the loop looks at the signal.
    }
  }

  /** One socket, from its opening to its end, which is always an error. */
  async #serve(signal: AbortSignal): Promise<never> {
    const over = deferred<never>()
    // Nobody waits for it yet, and nobody may if the socket does not open.
    over.promise.catch(() => {})
    this.#over = over
    const endAbort = onAbort(signal, () => over.reject(closedByDispose()))
    try {
      await this.#http.check(signal)
      const framing = await loadFraming()
      const socket = await this.#transport.openSocket(
        this.#http.headers,
        {
          received: (frame) => {
            if (this.#over === over) this.#received(frame)
          },
          closed: (code, message) => over.reject(closedBy(code, message)),
        },
        signal,
      )
      try {
        this.#session = { socket, framing, authId: noId }
        this.#authenticate()
        for (const stream of this.#streams.keys()) this.#start(stream)
        return await over.promise
      } finally {
        this.#session = undefined
        this.#byId.clear()
        for (const stream of this.#streams.keys()) this.#streams.set(stream, noId)
        socket.close()
        this.#http.forget()
      }
    } finally {
      endAbort()
    }
  }

  #authenticate(): void {
    const { token } = this.#options
    if (token === undefined || this.#transport.socketHeaders || !this.#session) return
    this.#session.authId = ++this.#lastId
    this.#send({ id: this.#session.authId, op: 'auth', token })
  }

  #start(stream: WatchStream): void {
    const id = ++this.#lastId
    this.#streams.set(stream, id)
    this.#byId.set(id, stream)
    this.#send(stream.request(id))
  }

  #send(request: RequestFrame): void {
    this.#session?.socket.send(this.#session.framing.encode(request))
  }

  #received(bytes: Uint8Array): void {
    if (!this.#session) return
    let frame: ResponseFrame
    try {
      frame = this.#session.framing.decode(bytes)
    } catch (error) {
      this.#over.reject(error)
      return
    }
    this.#failures = 0
    this.#options.reached(true)
    if (frame.type === 'error') this.#refused(frame.id, parseErrorBody(frame))
    else if (frame.type !== 'result') this.#deliver(frame)
  }

  #deliver(frame: Delivery): void {
    const stream = this.#byId.get(frame.id)
    if (!stream) return
    if (frame.type === 'end') this.#forget(stream)
    stream.received(frame)
  }

  #refused(id: number, error: TailraceError): void {
    const ofConnection = id === noId || id === this.#session?.authId || isCode(error, 'EUNAUTH')
    if (ofConnection || (isCode(error, 'ECLOSED') && this.#options.reconnect)) {
      // The server is ending, or does not understand: this socket is of no more use.
      this.#over.reject(error)
      return
    }
    const stream = this.#byId.get(id)
    if (!stream) return
    this.#forget(stream)
    stream.failed(error)
  }

  #forget(stream: WatchStream): void {
    const id = this.#streams.get(stream)
    this.#streams.delete(stream)
    if (id !== undefined) this.#byId.delete(id)
    if (this.#streams.size > 0 || this.#disposed) return
    if (this.#session) {
      this.#stopIdleTimer = startTimer(idleMs, () => this.#running?.abort.abort())
    } else {
      this.#running?.abort.abort()
    }
  }

  #failAll(error: TailraceError): void {
    const streams = [...this.#streams.keys()]
    this.#streams.clear()
    this.#byId.clear()
    for (const stream of streams) stream.failed(error)
  }

  #explained(error: TailraceError): TailraceError {
    const { name } = this.#transport
    return error.code === 'EUNAUTH' ? unauthorized(name, this.#options) : error
  }

  /** A failure that waiting can mend. */
  #isPassing({ code }: TailraceError): boolean {
    if (!this.#options.reconnect) return false
    if (code === 'EUNKNOWN') return true
    return this.#http.reached && (code === 'ECLOSED' || code === 'ETIMEDOUT')
  }
}

/** A watch has no outcome that could be unknown. */
function lost(cause: TailraceError): TailraceError {
  if (!isCode(cause, 'EUNKNOWN')) return cause
  const message = 'the connection was lost; watch again from the last position'
  return new TailraceError('ECLOSED', message, { cause })
}

async function loadFraming(): Promise<Framing> {
  const { packFrame, unpackFrame } = await import('../wire/framing.js')
  return {
    encode: packFrame,
    decode: (frame) => readAnswer(() => parseResponse(unpackFrame(frame))),
  }
}

function closedBy(code: number, message: string): TailraceError {
  if (code === protocolError) {
    const words = `the server does not speak ${subprotocol} (${message}); are both of one version?`
    return new TailraceError('EMISCONFIGURED', words)
  }
  return new TailraceError('EUNKNOWN', `the websocket closed (${code} ${message})`)
}
