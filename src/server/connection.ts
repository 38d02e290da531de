/** One websocket: requests in, answers out in any order, by id. See rfc/12, rules 10 to 13.
 *  Invariant: an id is in use from its request to its last frame; when the connection closes, every
 *  watch of it ends. */

import type { Socket as RawSocket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { primary } from '../api/namespace.js'
import type { Transaction } from '../api/transaction.js'
import { parseLongJson } from '../base/long-json.js'
import { LoopSlice } from '../base/loop-slice.js'
import { Wakeup } from '../base/wakeup.js'
import { isCode, TailraceError, toTailraceError } from '../error.js'
import { fromJson } from '../wire/bytes.js'
import { checkFrameBounds } from '../wire/frame-bounds.js'
import { authMs, type Request, type Response, subprotocol, watchesMax } from '../wire/frames.js'
import { decodeMessage, type Subprotocol } from '../wire/framing.js'
import { invalid } from '../wire/parse.js'
import { parseReadBody, parseRequest, parseRootBody, requestIdOf } from '../wire/requests.js'
import { errorBodyOf } from '../wire/status.js'
import { checkToken } from './access.js'
import type { Context } from './context.js'
import { Gate, Inbox } from './inbox.js'
import { some } from './kv-read.js'
import { type BacklogSum, Outbox } from './outbox.js'
import { ServedWatch, type WatchRequest } from './served-watch.js'
import { Turns } from './turns.js'
import { read, transactionOf } from './txn.js'
import { closePolicy, closeTryAgain, type Socket } from './websocket.js'

/** A frame of more bytes is read in several turns of the event loop. */
const longFrameSize = 64 * 1024

/** Requests (but watches) of one connection that wait for their answer. Above: EBUSY. */
export const requestsMax = 65_536
/** Of those, the ones that wait for a seq. Above: EBUSY. */
export const waitsMax = 10_000
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

export type ConnectionOptions = {
  readonly socket: Socket
  readonly raw: RawSocket
  readonly protocol: Subprotocol
  readonly sum: BacklogSum
  /** A first frame must bring it; absent: the connection is admitted already. */
  readonly token?: string
}

export class Connection {
  readonly #context: Context
  readonly #socket: Socket
  readonly #protocol: Subprotocol
  readonly #inbox: Inbox
  readonly #outbox: Outbox
  readonly #token: string | undefined
  readonly #watches = new Map<number, ServedWatch>()
  /** Requests that can be canceled have a controller. */
  readonly #requests = new Map<number, AbortController | undefined>()
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

  constructor(context: Context, options: ConnectionOptions) {
    const { socket, raw, protocol, sum, token } = options
    this.#context = context
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
      refuse: (error) => this.#end(closeTryAgain, 0, error),
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
      const transaction =
        request.op === 'txn' ? transactionOf(request.namespace ?? primary, request.body) : undefined
      await slice.turn()
      if (!this.#over) this.#take(request, transaction)
    } catch (error) {
      this.#fail(requestIdOf(frame), error)
    }
  }

  async #decodeText(data: Buffer): Promise<unknown> {
    this.#checkKind(false)
    return fromJson(await parseLongJson(data, 'a frame'))
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

  /** `transaction`: that of the request, where it was parsed before. */
  #take(request: Request, transaction?: Transaction): void {
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
      case 'txn':
      case 'read':
      case 'root':
        this.#checkId(request.id)
        void this.#answer(request, transaction)
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
    if (this.#watches.size >= watchesMax) {
      throw new TailraceError('EBUSY', `a connection has at most ${watchesMax} watches`)
    }
    const { activity, store } = this.#context
    const controller = activity.wait()
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
    this.#requests.get(id)?.abort()
  }

  async #answer(
    request: Extract<Request, { readonly op: 'txn' | 'read' | 'root' }>,
    transaction: Transaction | undefined,
  ): Promise<void> {
    const { id } = request
    try {
      const body = await this.#resultOf(request, transaction)
      this.#forget(id)
      this.#send({ id, type: 'result', body })
    } catch (error) {
      this.#forget(id)
      this.#fail(id, error)
    }
    this.#wakeIfQuiet()
  }

  #forget(id: number): void {
    const controller = this.#requests.get(id)
    if (controller) {
      this.#waits--
      this.#context.activity.giveBack(controller)
    }
    this.#requests.delete(id)
  }

  #wakeIfQuiet(): void {
    if (this.#watches.size + this.#requests.size === 0) this.#quiet.wake()
  }

  async #resultOf(
    request: Extract<Request, { readonly op: 'txn' | 'read' | 'root' }>,
    transaction: Transaction | undefined,
  ): Promise<unknown> {
    const { id, op, namespace = primary, body, idempotencyKey } = request
    switch (op) {
      case 'txn':
        this.#requests.set(id, undefined)
        return this.#context.store.commit(transaction ?? transactionOf(namespace, body), {
          namespace,
          ...some({ idempotencyKey }),
        })
      case 'read': {
        const parsed = parseReadBody(body)
        this.#inbox.spend(parsed.keys.length * lookupCost)
        const signal = this.#waitOf(id, parsed.minSeq)
        return this.#reads.run(async () => {
          await this.#outbox.drained(this.#closed.signal)
          return read(this.#context, namespace, parsed, signal)
        })
      }
      case 'root': {
        const parsed = parseRootBody(body)
        const signal = this.#waitOf(id, parsed.waitSeq)
        return this.#context.store.root({ namespace, ...parsed, ...(signal ? { signal } : {}) })
      }
      default:
        return op satisfies never
    }
  }

  /** Only what may wait long can be canceled: the rest is answered sooner than it would be. */
  #waitOf(id: number, seq: number | undefined): AbortSignal | undefined {
    if (seq === undefined) {
      this.#requests.set(id, undefined)
      return undefined
    }
    if (this.#waits >= waitsMax) {
      throw new TailraceError(
        'EBUSY',
        `at most ${waitsMax} requests of a connection wait for a seq`,
      )
    }
    this.#waits++
    const controller = this.#context.activity.wait()
    this.#requests.set(id, controller)
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

  #send(frame: Response): void {
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

function abortOf(controller: AbortController | undefined): () => void {
  return () => controller?.abort()
}
