/** The one websocket of a client, which its watches and its small requests share. It is opened for
 *  the first of them, closed when it was not used for a while, and opened again for watches when it
 *  is lost. See rfc/12, rules 17 and 37.
 *  Invariant: a watch that was added runs on the open socket, or will as soon as a socket is open,
 *  until it is removed or was told why it ended. A call is on one socket only. Only one loop
 *  (`#loop`) opens sockets. An unused socket does not keep a program running. */

import type { Backoff } from '../api/connect.js'
import { onAbort } from '../base/abort.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { pause, startTimer } from '../base/timer.js'
import { isCode, TailraceError, toTailraceError } from '../error.js'
import {
  type CallFrame,
  parseResponse,
  type RequestFrame,
  type ResponseFrame,
  subprotocol,
} from '../wire/frames.js'
import { packFrame, unpackFrame } from '../wire/messages.js'
import { parseErrorBody } from '../wire/status.js'
import { readAnswer } from './answer.js'
import { delayOf } from './backoff.js'
import { Calls, type SocketCall } from './calls.js'
import { closedByDispose, type Http, unauthorized } from './http.js'
import type { ClientTracing, Socket, Transport } from './transport.js'

/** The time that a socket stays open after its last watch ended, if it carried no call, in ms. */
const idleMs = 2_000
/** The time that a socket which carried calls stays open after its last use, in ms. */
const callIdleMs = 30_000
/** The id of a watch that is on no socket, and of frames that answer no request. */
const noId = 0
/** The close code of a peer that does not speak the subprotocol. See rfc/12, rule 10. */
const protocolError = 1002

/** A watch as the connection sees it. */
export type WatchStream = {
  /** Returns the frame that opens the watch on a new socket, from its present position. */
  request(id: number): RequestFrame
  /** Takes a frame of the watch. After an `end` the connection has forgotten the watch. */
  received(frame: Delivery): void
  /** Ends the watch with an error. The connection has forgotten it before. */
  failed(error: TailraceError): void
}

/** A frame that belongs to a watch, and is no error. */
export type Delivery = Extract<
  ResponseFrame,
  { readonly type: 'append' | 'value' | 'lease' | 'changes' | 'live' | 'end' }
>

type ConnectionOptions = {
  readonly token: string | undefined
  readonly reconnect: boolean
  readonly backoff: Backoff
  readonly random: () => number
  /** The time after which a call without an answer is given up, in ms. */
  readonly timeoutMs: number
  /** Called with true for each frame, and with false for each lost socket. */
  readonly reached: (online: boolean) => void
}

export class Connection {
  readonly #transport: Transport
  readonly #http: Http
  readonly #options: ConnectionOptions
  /** Every watch that has not ended, with its id on the open socket, or `noId`. */
  readonly #streams = new Map<WatchStream, number>()
  readonly #byId = new Map<number, WatchStream>()
  #lastId = noId
  /** The open socket, and the id of its `auth` frame. */
  #session: { readonly socket: Socket; authId: number } | undefined
  /** Rejected when the session ends. */
  #over: Deferred<never> = deferred()
  /** The loop, while it runs, and the controller that ends it. */
  #running: { readonly ended: Promise<void>; readonly abort: AbortController } | undefined
  readonly #calls: Calls
  /** Resolved with true once a socket is open, with false if a try to open one failed. */
  #opening: Deferred<boolean> | undefined
  /** True while the loop waits before it opens the next socket. */
  #pausing = false
  /** True if the open socket has carried a call. */
  #hasCalled = false
  /** The time of the last use of the socket, by `performance.now()`. */
  #used = 0
  #stopIdleTimer: (() => void) | undefined
  /** The number of sockets that were lost in a row, since a frame came in. */
  #failures = 0
  #disposed = false

  constructor(transport: Transport, http: Http, options: ConnectionOptions) {
    this.#transport = transport
    this.#http = http
    this.#options = options
    this.#calls = new Calls({
      name: transport.name,
      timeoutMs: options.timeoutMs,
      cancel: (id) => this.#send({ id, op: 'cancel' }),
      ended: () => this.#rest(),
    })
  }

  /** True if a call can be sent now. */
  get isOpen(): boolean {
    return this.#session !== undefined && !this.#disposed
  }

  /** Opens a socket for calls. Resolves to true once it is open, to false if this try failed, and at
   *  once while the loop waits after failures. Never throws. */
  async open(): Promise<boolean> {
    if (this.isOpen) return true
    if (this.#disposed || this.#pausing) return false
    this.#opening ??= deferred()
    const opening = this.#opening.promise
    this.#run()
    return opening
  }

  /** Sends a call at once. REQUIRES: `isOpen`, and its signal has not aborted. */
  call(frame: Omit<CallFrame, 'id'>, call: SocketCall): void {
    const { op, namespace, idempotencyKey, idempotencySince, trace, body } = frame
    const id = ++this.#lastId
    this.#calls.add(id, call)
    this.#hasCalled = true
    this.#session?.socket.hold(true)
    this.#send({ id, op, namespace, idempotencyKey, idempotencySince, trace, body })
  }

  add(stream: WatchStream): void {
    if (this.#disposed) {
      stream.failed(closedByDispose())
      return
    }
    this.#streams.set(stream, noId)
    this.#session?.socket.hold(true)
    if (this.#session) this.#start(stream)
    else this.#run()
  }

  /** Cancels a watch, which then receives nothing more. Does nothing if it has ended. */
  remove(stream: WatchStream): void {
    const id = this.#streams.get(stream)
    if (id === undefined) return
    if (id !== noId) this.#send({ id, op: 'cancel' })
    this.#forget(stream)
  }

  /** Grants credit to a watch, in bytes. Does nothing while the watch is on no socket: on the next
   *  one its request grants anew. */
  grant(stream: WatchStream, bytes: number): void {
    const id = this.#streams.get(stream)
    if (id !== undefined && id !== noId) this.#send({ id, op: 'credit', bytes })
  }

  /** The traces of the program. */
  get tracing(): ClientTracing | undefined {
    return this.#transport.tracing
  }

  /** Gives the memory of a delivery back. REQUIRES: nobody reads it any more. */
  recycle(data: Uint8Array): void {
    this.#session?.socket.recycle?.(data)
  }

  /** Ends every watch with ECLOSED. Resolves when the loop has ended. */
  async dispose(): Promise<void> {
    this.#disposed = true
    this.#stopIdleTimer?.()
    this.#calls.dispose()
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

  /** Opens socket after socket while there are watches, and one for calls. Never throws: it tells
   *  the watches what failed. */
  async #loop(signal: AbortSignal): Promise<void> {
    // `#run` sets `#running` in this turn, before anything below looks at it.
    await undefined
    while (!signal.aborted && (this.#streams.size > 0 || this.#opening)) {
      try {
        await this.#serve(signal)
      } catch (error) {
        if (signal.aborted) break
        this.#opened(false)
        const failure = this.#explained(toTailraceError(error))
        if (!this.#isPassing(failure)) this.#failAll(lost(failure))
        else if (this.#streams.size > 0) this.#options.reached(false)
      }
      this.#failures++
      if (this.#streams.size > 0) await this.#wait(signal)
    }
    this.#running = undefined
    if (this.#disposed) this.#opened(false)
    // Watches that were added, and calls, after the loop was told to end need a new one.
    else if (this.#streams.size > 0 || this.#opening) this.#run()
  }

  #opened(isOpen: boolean): void {
    this.#opening?.resolve(isOpen)
    this.#opening = undefined
  }

  async #wait(signal: AbortSignal): Promise<void> {
    const { backoff, random } = this.#options
    this.#pausing = true
    try {
      await pause(delayOf(backoff, this.#failures, random()), signal)
    } catch {
      // Aborted: the loop looks at the signal.
    } finally {
      this.#pausing = false
    }
  }

  /** Opens one socket and serves it until it ends. It always ends with an error. */
  async #serve(signal: AbortSignal): Promise<never> {
    const over = deferred<never>()
    // If the socket does not open, nobody awaits the promise. Its rejection must not count as
    // unhandled.
    over.promise.catch(() => {})
    this.#over = over
    const endAbort = onAbort(signal, () => over.reject(closedByDispose()))
    try {
      if (this.#streams.size > 0) await this.#http.check(signal)
      else await this.#http.tryCheck(signal)
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
        this.#session = { socket, authId: noId }
        this.#authenticate()
        for (const stream of this.#streams.keys()) this.#start(stream)
        this.#opened(true)
        this.#rest()
        return await over.promise
      } catch (error) {
        this.#calls.lose(this.#explained(toTailraceError(error)))
        throw error
      } finally {
        this.#session = undefined
        this.#hasCalled = false
        this.#stopIdleTimer?.()
        this.#stopIdleTimer = undefined
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
    this.#session?.socket.send(packFrame(request))
  }

  #received(bytes: Uint8Array): void {
    if (!this.#session) return
    let frame: ResponseFrame
    try {
      frame = readAnswer(() => parseResponse(unpackFrame(bytes)))
    } catch (error) {
      this.#over.reject(error)
      return
    }
    this.#failures = 0
    this.#options.reached(true)
    if (frame.type === 'error') this.#refused(frame.id, parseErrorBody(frame))
    else if (frame.type === 'result') this.#calls.answer(frame.id, frame.body)
    else this.#deliver(frame)
  }

  #deliver(frame: Delivery): void {
    const stream = this.#byId.get(frame.id)
    if (!stream) return
    if (frame.type === 'end') this.#forget(stream)
    stream.received(frame)
  }

  #refused(id: number, error: TailraceError): void {
    const ofConnection = id === noId || id === this.#session?.authId || isCode(error, 'EUNAUTH')
    const isStopping = isCode(error, 'ECLOSED') && this.#byId.has(id)
    if (ofConnection || (isStopping && this.#options.reconnect)) {
      // The server stops, refuses the token or cannot read our frames: end this socket.
      this.#over.reject(error)
      return
    }
    this.#calls.fail(id, error)
    const stream = this.#byId.get(id)
    if (!stream) return
    this.#forget(stream)
    stream.failed(error)
  }

  #forget(stream: WatchStream): void {
    const id = this.#streams.get(stream)
    this.#streams.delete(stream)
    if (id !== undefined) this.#byId.delete(id)
    if (this.#session) this.#rest()
    else if (this.#streams.size === 0 && !this.#opening) this.#running?.abort.abort()
  }

  /** Looks whether the socket is unused now. One that stays unused is closed. */
  #rest(): void {
    if (this.#disposed || !this.#session || this.#streams.size + this.#calls.size > 0) return
    this.#session.socket.hold(false)
    this.#used = performance.now()
    this.#stopIdleTimer ??= startTimer(this.#idleMs, () => this.#endIdle())
  }

  get #idleMs(): number {
    return this.#hasCalled ? callIdleMs : idleMs
  }

  /** Closes the socket if it was unused for long enough, or looks again when it will have been. */
  #endIdle(): void {
    this.#stopIdleTimer = undefined
    if (this.#streams.size + this.#calls.size > 0) return
    const left = this.#used + this.#idleMs - performance.now()
    if (left > 0) this.#stopIdleTimer = startTimer(left, () => this.#endIdle())
    else this.#running?.abort.abort()
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

  /** Returns true if a later try may succeed. */
  #isPassing({ code }: TailraceError): boolean {
    if (!this.#options.reconnect) return false
    if (code === 'EUNKNOWN') return true
    return this.#http.reached && (code === 'ECLOSED' || code === 'ETIMEDOUT')
  }
}

/** Makes ECLOSED of EUNKNOWN: a watch changes nothing, so no outcome of it is unknown. */
function lost(cause: TailraceError): TailraceError {
  if (!isCode(cause, 'EUNKNOWN')) return cause
  const message = 'the connection was lost; watch again from the last position'
  return new TailraceError('ECLOSED', message, { cause })
}

function closedBy(code: number, message: string): TailraceError {
  if (code === protocolError) {
    const words = `the server does not speak ${subprotocol} (${message}); are both of one version?`
    return new TailraceError('EMISCONFIGURED', words)
  }
  return new TailraceError('EUNKNOWN', `the websocket closed (${code} ${message})`)
}
