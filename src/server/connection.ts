/** One websocket: requests in, answers out in any order, by id. See rfc/12, rules 10 to 13.
 *  Invariant: an id is in use from its request to its last frame; when the connection closes, every
 *  watch of it ends. */

import type { Socket as RawSocket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { parseLongJson } from '../base/long-json.js'
import { LoopSlice } from '../base/loop-slice.js'
import { invalid } from '../base/shape.js'
import { Wakeup } from '../base/wakeup.js'
import { isCode, TailraceError, toTailraceError } from '../error.js'
import { checkFrameBounds } from '../wire/frame-bounds.js'
import {
  authMs,
  type CallFrame,
  isCallFrame,
  parseRequest,
  type RequestFrame,
  type ResponseFrame,
  requestIdOf,
  subprotocol,
} from '../wire/frames.js'
import { decodeMessage, type Subprotocol } from '../wire/messages.js'
import { type ArgsOf, isWaiting } from '../wire/request.js'
import { errorBodyOf } from '../wire/status.js'
import type { read } from '../wire/transaction.js'
import { checkToken } from './access.js'
import type { ServerContext } from './context.js'
import { Gate, Inbox } from './inbox.js'
import { some } from './kv-read.js'
import { type BacklogSum, Outbox } from './outbox.js'
import type { AskedCall, Call, Routes } from './routes.js'
import { ServedWatch, type WatchRequest } from './served-watch.js'
import { Turns } from './turns.js'
import { closePolicy, closeTryAgain, type ServerSocket } from './websocket.js'

/** A frame of more bytes is read in several turns of the event loop. */
const longFrameSize = 64 * 1024

/** Requests (but watches) of one connection that wait for their answer. Above: EBUSY. */
export const requestsMax = 65_536
/** Reads of one connection that are answered at once; the others wait, and so do all while much waits
 *  in the socket: what is held for a client that takes no answers is bounded. */
export const readsMax = 16

/** What a read costs of a turn (`pace.ts`) for each of its keys. */
const lookupCost = 1024

/** Bytes of the first frame of a peer that has sent no token yet, and of all that it sends before it is
 *  admitted. */
export const authFrameSizeMax = 512
export const strangerSizeMax = 2 * authFrameSizeMax
const firstFrame = 'the first frame must be "auth" with the token'
/** Watches and waits that are ended in one turn when their connection has gone. */
const endsAtOnce = 128
/** A refused peer has this long to take the reason. */
const refusedMs = 1_000

/** A request that has no answer yet. One that waits has a controller. */
type Pending = { canceled: boolean; controller: AbortController | undefined }

export type ConnectionOptions = {
  readonly socket: ServerSocket
  readonly raw: RawSocket
  readonly protocol: Subprotocol
  readonly sum: BacklogSum
  /** A first frame must bring it; absent: the connection is admitted already. */
  readonly token?: string
}

export class ServedConnection {
  readonly #context: ServerContext
  readonly #routes: Routes
  readonly #socket: ServerSocket
  readonly #protocol: Subprotocol
  readonly #inbox: Inbox
  readonly #outbox: Outbox
  readonly #token: string | undefined
  readonly #watches = new Map<number, ServedWatch>()
  readonly #requests = new Map<number, Pending>()
  readonly #authTimer: NodeJS.Timeout | undefined
  readonly #reads = new Turns(readsMax)
  /** Requests that have a controller. */
  #waits = 0
  /** Aborted when the connection has closed. */
  readonly #closed = new AbortController()
  /** Woken when the last request or watch has had its last frame. */
  readonly #quiet = new Wakeup()
  #admitted: boolean
  /** Nothing that comes is read any more. */
  #refused = false
  #alive = true

  constructor(context: ServerContext, routes: Routes, options: ConnectionOptions) {
    const { socket, raw, protocol, sum, token } = options
    this.#context = context
    this.#routes = routes
    this.#socket = socket
    this.#protocol = protocol
    this.#token = token
    this.#admitted = token === undefined
    const gate = new Gate(socket)
    this.#outbox = new Outbox(socket, { raw, protocol, gate, sum })
    const { requestPace: pace, bodies } = context
    this.#inbox = new Inbox(socket, {
      ...{ raw, gate, pace, bodies },
      take: (data, isBinary) => this.#receive(data, isBinary),
      refuse: (error) => {
        this.#end(closeTryAgain, 0, error)
        // The memory of half a message, which is another's now, goes with the socket: it is destroyed once the reason
        // was written, and does not wait until the peer closes it.
        raw.destroySoon()
      },
    })
    if (!this.#admitted) {
      this.#authTimer = setTimeout(() => this.#refuseLate(), authMs)
      this.#boundStranger(raw)
    }
    socket.on('pong', () => {
      this.#alive = true
    })
    socket.on('close', () => this.#close())
  }

  /** Bytes that wait for the client. */
  get backlog(): number {
    return this.#outbox.backlog
  }

  /** Ends a connection that showed no sign of life since the last ping. */
  endIfSilent(): void {
    const progress = this.#outbox.takeProgress()
    if (!this.#alive && !progress) this.#socket.terminate()
  }

  ping(): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return
    this.#alive = false
    this.#socket.ping()
  }

  /** Resolves when nothing is open any more: each had its last frame. Throws ECANCELED. */
  async settled(signal: AbortSignal): Promise<void> {
    while (this.#watches.size + this.#requests.size > 0) {
      await this.#quiet.wait(this.#quiet.count, signal)
    }
  }

  /** Ends the connection of a peer without a token that sends too many bytes, even in one frame. Whole frames are
   *  handled before the check. */
  #boundStranger(raw: RawSocket): void {
    const start = raw.bytesRead
    const bound = () => {
      if (this.#admitted) raw.off('data', bound)
      else if (raw.bytesRead - start > strangerSizeMax) this.#socket.terminate()
    }
    raw.on('data', bound)
  }

  #receive(data: Buffer, isBinary: boolean): Promise<void> | undefined {
    this.#alive = true
    if (this.#refused) return undefined
    if (!this.#admitted && data.length > authFrameSizeMax) {
      this.#refuse(
        0,
        `the first frame has at most ${authFrameSizeMax} bytes: "auth" with the token`,
      )
      return undefined
    }
    if (data.length > longFrameSize) return this.#receiveLong(data, isBinary)
    this.#receiveShort(data, isBinary)
    return undefined
  }

  #receiveShort(data: Buffer, isBinary: boolean): void {
    const decoded = this.#decode(data, isBinary)
    if (decoded === undefined) return
    const { frame } = decoded
    try {
      const request = parseRequest(frame)
      if (this.#admitted || request.op === 'auth') this.#take(request)
      else this.#refuse(request.id, firstFrame)
    } catch (error) {
      if (this.#admitted) this.#fail(requestIdOf(frame), error)
      else this.#refuse(requestIdOf(frame), firstFrame)
    }
  }

  /** Gives way between what a long frame takes. Never throws. */
  async #receiveLong(data: Buffer, isBinary: boolean): Promise<void> {
    const slice = new LoopSlice()
    // The websocket has put the frame together in this turn.
    await slice.turn()
    let frame: unknown
    try {
      frame = isBinary ? this.#decode(data, true)?.frame : await this.#decodeText(data)
      if (frame === undefined) return
      await slice.turn()
      const request = parseRequest(frame)
      const parsed = isCallFrame(request) ? this.#routes.asked(request) : undefined
      await slice.turn()
      if (!this.#over) this.#take(request, parsed)
    } catch (error) {
      this.#fail(requestIdOf(frame), error)
    }
  }

  async #decodeText(data: Buffer): Promise<unknown> {
    this.#checkKind(false)
    return parseLongJson(data, 'a frame')
  }

  /** Watches, and requests that wait. */
  get #open(): number {
    return this.#watches.size + this.#waits
  }

  /** Whether nothing is taken from it any more. */
  get #over(): boolean {
    return this.#refused || this.#closed.signal.aborted
  }

  #decode(data: Buffer, isBinary: boolean): { readonly frame: unknown } | undefined {
    try {
      this.#checkKind(isBinary)
      if (isBinary) checkFrameBounds(data)
      return { frame: decodeMessage(isBinary ? data : data.toString()) }
    } catch (error) {
      if (this.#admitted) this.#fail(0, error)
      else this.#refuse(0, firstFrame)
      return undefined
    }
  }

  /** Throws EINVAL. */
  #checkKind(isBinary: boolean): void {
    if (isBinary === (this.#protocol === subprotocol)) return
    throw invalid(`${this.#protocol} has ${isBinary ? 'text' : 'binary'} messages only`)
  }

  /** `parsed`: what the request asks for, where it was parsed before. */
  #take(request: RequestFrame, parsed?: AskedCall): void {
    if (isCallFrame(request)) {
      this.#checkId(request.id)
      void this.#answer(request.id, request, parsed)
      return
    }
    switch (request.op) {
      case 'auth':
        this.#auth(request.id, request.token)
        return
      case 'credit':
        this.#watches.get(request.id)?.grant(request.bytes)
        return
      case 'cancel':
        this.#cancel(request.id)
        return
      case 'watch':
        this.#checkId(request.id)
        this.#watch(request)
        return
      default:
        request satisfies never
    }
  }

  #auth(id: number, token: string): void {
    try {
      if (this.#token !== undefined) checkToken(this.#token, token)
    } catch (error) {
      const message = isCode(error, 'EUNAUTH') ? error.message : 'the token could not be checked'
      this.#refuse(id, message)
      return
    }
    this.#admitted = true
    clearTimeout(this.#authTimer)
    this.#send({ id, type: 'result', body: {} })
  }

  #watch(request: WatchRequest): void {
    const { activity, store } = this.#context
    const controller = activity.wait(this.#open)
    const counted = activity.beginWatch()
    const watch = new ServedWatch(request, this.#outbox, {
      controller,
      share: this.#context.pace.share(),
    })
    this.#watches.set(request.id, watch)
    const finish = () => {
      counted.end()
      activity.giveBack(controller)
      // After a cancel the id may have been used again.
      if (this.#watches.get(request.id) === watch) this.#watches.delete(request.id)
      this.#wakeIfQuiet()
    }
    // `run` throws nothing: what fails is its last frame.
    void watch.run(store).finally(finish)
  }

  #cancel(id: number): void {
    const watch = this.#watches.get(id)
    this.#watches.delete(id)
    watch?.cancel()
    const pending = this.#requests.get(id)
    if (!pending) return
    pending.canceled = true
    pending.controller?.abort()
  }

  async #answer(id: number, frame: CallFrame, parsed: AskedCall | undefined): Promise<void> {
    const pending: Pending = { canceled: false, controller: undefined }
    const after: (() => void)[] = []
    const signalOf = () => this.#signalOf(pending)
    this.#requests.set(id, pending)
    try {
      const call: Call = {
        ...some({ idempotencyKey: frame.idempotencyKey }),
        get signal() {
          return signalOf()
        },
        afterwards: (act) => after.push(act),
      }
      await this.#run(parsed ?? this.#routes.asked(frame), call, (body) => {
        this.#forget(id)
        this.#send({ id, type: 'result', body })
      })
    } catch (error) {
      this.#forget(id)
      this.#fail(id, error)
    }
    this.#wakeIfQuiet()
    for (const act of after) void setImmediate().then(act)
  }

  #forget(id: number): void {
    const controller = this.#requests.get(id)?.controller
    if (controller) {
      this.#waits--
      this.#context.activity.giveBack(controller)
    }
    this.#requests.delete(id)
  }

  #wakeIfQuiet(): void {
    if (this.#watches.size + this.#requests.size === 0) this.#quiet.wake()
  }

  /** Writes and waits run at once; what only reads has its turn, since its answer may be long. The turn lasts until the
   *  answer was handed over: who comes next sees it in the backlog. */
  async #run(asked: AskedCall, call: Call, deliver: (body: unknown) => void): Promise<void> {
    const { spec, args } = asked
    const waits = isWaiting(spec, args)
    const { minSeq, namespace } = args as ArgsOf<typeof read>
    if (spec.right === 'write' || (waits && minSeq === undefined)) {
      deliver(await asked.run(call))
      return
    }
    this.#inbox.spend(lookupsOf(args) * lookupCost)
    // It takes no place of others while it waits.
    if (waits)
      await this.#context.store.root(some({ namespace, waitSeq: minSeq, signal: call.signal }))
    await this.#reads.run(async () => {
      await this.#outbox.drained(this.#closed.signal)
      deliver(await asked.run(call))
    })
  }

  /** Made when it is asked for: only what may wait long can be canceled, the rest is answered sooner than it would
   *  be. Throws EBUSY. */
  #signalOf(pending: Pending): AbortSignal {
    if (pending.controller) return pending.controller.signal
    const controller = this.#context.activity.wait(this.#open)
    this.#waits++
    pending.controller = controller
    if (pending.canceled) controller.abort()
    return controller.signal
  }

  /** Throws EINVAL, EBUSY. */
  #checkId(id: number): void {
    if (this.#watches.has(id) || this.#requests.has(id)) {
      throw invalid(`the id ${id} is in use: take another`)
    }
    if (this.#requests.size >= requestsMax) {
      throw new TailraceError('EBUSY', `at most ${requestsMax} requests wait for an answer`)
    }
  }

  #fail(id: number, thrown: unknown): void {
    const error = toTailraceError(thrown)
    this.#context.log.fault('websocket', thrown)
    this.#send({ id, type: 'error', ...errorBodyOf(error) })
  }

  #refuse(id: number, message: string): void {
    this.#end(closePolicy, id, new TailraceError('EUNAUTH', message))
  }

  /** Ends the connection with an error, after which nothing that comes is looked at. */
  #end(code: number, id: number, error: unknown): void {
    if (this.#refused) return
    this.#refused = true
    this.#fail(id, error)
    this.#socket.close(code, toTailraceError(error).code)
    const timer = setTimeout(() => this.#socket.terminate(), refusedMs)
    this.#socket.once('close', () => clearTimeout(timer))
  }

  #refuseLate(): void {
    this.#refuse(0, `no token came within ${authMs} ms`)
  }

  #send(frame: ResponseFrame): void {
    this.#outbox.send(frame)
  }

  #close(): void {
    clearTimeout(this.#authTimer)
    this.#closed.abort()
    void this.#endAll()
  }

  /** In slices: there may be tens of thousands, and each has work to undo. */
  async #endAll(): Promise<void> {
    const watches = [...this.#watches.values()]
    const waits = [...this.#requests.values()]
    this.#watches.clear()
    let ended = 0
    for (const end of [...watches.map((watch) => () => watch.drop()), ...waits.map(abortOf)]) {
      end()
      if (++ended % endsAtOnce === 0) await setImmediate()
    }
  }
}

function abortOf(pending: Pending): () => void {
  return () => {
    pending.canceled = true
    pending.controller?.abort()
  }
}

/** How many keys a read looks for. */
function lookupsOf({ keys }: Readonly<Record<string, unknown>>): number {
  return Array.isArray(keys) ? keys.length : 1
}
