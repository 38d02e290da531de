/** One websocket: it admits the peer, decodes the frames that come, and ends the connection. What
 *  the frames ask for is done in `served-requests.ts`. See rfc/12, rules 10, 13, 14 and 34.
 *  Invariant: before the peer is admitted only a frame `auth` is handled. After the connection was
 *  refused or has closed no frame is handled. */

import type { Socket as RawSocket } from 'node:net'
import { parseLongJson } from '../base/long-json.js'
import { LoopSlice } from '../base/loop-slice.js'
import { invalid } from '../base/shape.js'
import { isCode, TailraceError, toTailraceError } from '../error.js'
import {
  authMs,
  isCallFrame,
  parseRequest,
  type RequestFrame,
  requestIdOf,
  subprotocol,
} from '../wire/frames.js'
import { checkFrameBounds, decodeMessage, idOfMessage, type Subprotocol } from '../wire/messages.js'
import type { ServerContext } from './context.js'
import { Gate, Inbox } from './inbox.js'
import { Outbox } from './outbox.js'
import type { Principal } from './principal.js'
import type { Principals } from './principals.js'
import type { AskedCall, Routes } from './routes.js'
import { ServedRequests } from './served-requests.js'
import { closePolicy, closeTryAgain, type ServerSocket } from './websocket.js'

/** The size above which a frame is decoded and parsed in several turns of the event loop, in
 *  bytes. */
const longFrameSize = 64 * 1024

/** The largest first frame of a peer that is not admitted yet, in bytes. */
export const authFrameSizeMax = 512
/** The largest size of all that a peer sends before it is admitted, in bytes. */
export const strangerSizeMax = 2 * authFrameSizeMax
const firstFrame = 'the first frame must be "auth" with the token'
/** The time that a refused peer has to read the reason, in ms. Then its socket is destroyed. */
const refusedMs = 1_000

type ConnectionOptions = {
  readonly socket: ServerSocket
  /** The socket below the websocket. */
  readonly raw: RawSocket
  readonly protocol: Subprotocol
  /** The principal, if the upgrade named one. Absent: the first frame must bring a token. */
  readonly principal?: Principal
  /** Tells the principal that a token names. */
  readonly principals: Principals
}

/** The server's end of one websocket. */
export class ServedConnection {
  /** The requests and watches of this connection. */
  readonly requests: ServedRequests
  readonly #routes: Routes
  readonly #socket: ServerSocket
  readonly #protocol: Subprotocol
  readonly #outbox: Outbox
  readonly #principals: Principals
  readonly #authTimer: NodeJS.Timeout | undefined
  /** Undefined until the peer is admitted. */
  #principal: Principal | undefined
  /** Releases the hold on the principal. */
  #release: () => void = () => {}
  /** True once the peer was refused or the socket has closed: no frame is handled any more. */
  #over = false
  /** True if a pong or a message has come since the last ping. */
  #alive = true

  constructor(context: ServerContext, routes: Routes, options: ConnectionOptions) {
    const { socket, raw, protocol, principal, principals } = options
    this.#routes = routes
    this.#socket = socket
    this.#protocol = protocol
    this.#principals = principals
    const gate = new Gate(socket)
    const { events, backlogs } = context
    const outbox = new Outbox(socket, { raw, protocol, gate, backlogs, events })
    const { requestPace: pace, bodies } = context
    const inbox = new Inbox(socket, {
      ...{ raw, gate, pace, bodies },
      take: (data, isBinary) => this.#receive(data, isBinary),
      refuse: (error) => {
        this.#end(closeTryAgain, 0, error)
        // The budget has given the memory of the unfinished message to another client already. So
        // the socket, which holds it, is destroyed once the reason was written; the peer need not
        // close it.
        raw.destroySoon()
      },
    })
    this.#outbox = outbox
    this.requests = new ServedRequests(context, routes, { inbox, outbox })
    if (principal) this.#admitUpgraded(principal)
    else {
      this.#authTimer = setTimeout(() => this.#refuseLate(), authMs)
      this.#boundStranger(raw)
    }
    socket.on('pong', () => {
      this.#alive = true
    })
    socket.on('close', () => this.#close())
  }

  /** The number of bytes that wait to be sent to the client. */
  get backlog(): number {
    return this.#outbox.backlog
  }

  /** Ends the connection if it showed no sign of life since the last ping. */
  endIfSilent(): void {
    const progress = this.#outbox.takeProgress()
    if (!this.#alive && !progress) this.#socket.terminate()
  }

  /** Pings the client. The next `endIfSilent` looks for a sign of life since then. */
  ping(): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return
    this.#alive = false
    this.#socket.ping()
  }

  /** Closes the websocket behind all frames that were sent. */
  close(code: number, reason: string): void {
    this.#outbox.flush()
    this.#socket.close(code, reason)
  }

  get #admitted(): boolean {
    return this.#principal !== undefined
  }

  #admitUpgraded(principal: Principal): void {
    try {
      this.#admit(principal)
    } catch (error) {
      this.#end(closePolicy, 0, error)
    }
  }

  /** Admits the peer, until its token is worth nothing any more. Throws EUNAUTH if it is so already. */
  #admit(principal: Principal): void {
    const { release } = principal.hold((reason) => this.#end(closePolicy, 0, reason))
    this.#principal = principal
    this.#release = release
    this.requests.serve(this.#principals.contextOf(principal))
  }

  /** Ends the connection of a peer that sends too many bytes before it is admitted, even within one
   *  frame. Whole frames are handled before this check. */
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
    if (this.#over) return undefined
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
      if (this.#admitted) this.requests.fail(requestIdOf(frame), error)
      else this.#refuse(requestIdOf(frame), firstFrame)
    }
  }

  /** Lets the event loop turn between the steps of handling a long frame. Never throws. */
  async #receiveLong(data: Buffer, isBinary: boolean): Promise<void> {
    const slice = new LoopSlice()
    // The websocket has unmasked and joined the frame in this turn, which took time already.
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
      if (frame === undefined) this.#failUnread(data, isBinary, error)
      else this.requests.fail(requestIdOf(frame), error)
    }
  }

  /** Refuses a frame that could not be read. One that is too large is answered under its own id, so
   *  that whoever waits for the answer gets it. */
  #failUnread(data: Buffer, isBinary: boolean, error: unknown): void {
    const id = isCode(error, 'E2BIG')
      ? idOfMessage(isBinary ? data : data.toString('latin1', 0, 256))
      : 0
    this.requests.fail(id, error)
  }

  async #decodeText(data: Buffer): Promise<unknown> {
    this.#checkKind(false)
    return parseLongJson(data, 'a frame', () => this.#over)
  }

  #decode(data: Buffer, isBinary: boolean): { readonly frame: unknown } | undefined {
    try {
      this.#checkKind(isBinary)
      if (isBinary) checkFrameBounds(data)
      return { frame: decodeMessage(isBinary ? data : data.toString()) }
    } catch (error) {
      if (this.#admitted) this.#failUnread(data, isBinary, error)
      else this.#refuse(0, firstFrame)
      return undefined
    }
  }

  /** Throws EINVAL if the subprotocol has no messages of this kind. */
  #checkKind(isBinary: boolean): void {
    if (isBinary === (this.#protocol === subprotocol)) return
    throw invalid(`${this.#protocol} has ${isBinary ? 'text' : 'binary'} messages only`)
  }

  #take(request: RequestFrame, parsed?: AskedCall): void {
    if (!isCallFrame(request) && request.op === 'auth') this.#auth(request.id, request.token)
    else this.requests.take(request, parsed)
  }

  #auth(id: number, token: string): void {
    let principal: Principal
    try {
      principal = this.#principals.of(token)
    } catch (error) {
      const message = isCode(error, 'EUNAUTH') ? error.message : 'the token could not be checked'
      this.#refuse(id, message)
      return
    }
    if (principal !== this.#principal) {
      if (this.#principal && !this.#principal.isOwner)
        throw invalid('the connection has a token already')
      this.#admit(principal)
    }
    clearTimeout(this.#authTimer)
    this.#outbox.send({ id, type: 'result', body: {} })
  }

  #refuse(id: number, message: string): void {
    this.#end(closePolicy, id, new TailraceError('EUNAUTH', message))
  }

  #refuseLate(): void {
    this.#refuse(0, `no token came within ${authMs} ms`)
  }

  /** Sends an error and closes the connection. No later frame is handled. */
  #end(code: number, id: number, error: unknown): void {
    if (this.#over) return
    this.#over = true
    this.requests.fail(id, error)
    this.requests.refuse(error)
    this.close(code, toTailraceError(error).code)
    const timer = setTimeout(() => this.#socket.terminate(), refusedMs)
    this.#socket.once('close', () => clearTimeout(timer))
  }

  #close(): void {
    clearTimeout(this.#authTimer)
    this.#release()
    this.#over = true
    this.requests.end()
  }
}
