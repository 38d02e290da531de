/** The HTTP server below the routes. It accepts connections, passes on the requests that were admitted
 *  (judge.ts), and refuses others before they reach a route. See rfc/12, rules 3, 7, 25 to 28 and 32, and
 *  rfc/13, rule 7.
 *  Invariant: the socket of a refused client ends with the refusal, or within a named time.
 *  `destroySockets` ends the rest. */

import {
  createServer,
  type Server as HttpServer,
  type IncomingMessage,
  type ServerOptions,
  ServerResponse,
} from 'node:http'
import type { Socket } from 'node:net'
import { invalid } from '../base/shape.js'
import { type Code, TailraceError, toTailraceError } from '../error.js'
import { requests } from '../wire/requests.js'
import { Acceptors } from './acceptors.js'
import type { Backlogs } from './backlogs.js'
import type { BodyBudget } from './body-budget.js'
import { ChunkedBody } from './chunked.js'
import { type FrontRequest, judgedRequest } from './front-request.js'
import { Judge, type JudgeRules, type OpenPaths } from './judge.js'
import { checkMeaning } from './meaning.js'
import type { Pace } from './pace.js'
import { commonHeaders } from './page-safety.js'
import { Pipelines } from './pipeline.js'
import { admittedRest, type Rest, refuse, refuseSocket, strangerRest } from './refusal.js'
import {
  createTlsServer,
  replacePair,
  resetConnection,
  type TlsOptions,
  tcpSocketOf,
} from './tls.js'

/** The paths that need no token, whatever the method. Their answers have nothing of the store but
 *  its id. */
const openPaths: OpenPaths = new Set(
  [...requests.values()].filter(({ right }) => right === 'anyone').map(({ path }) => path),
)

/** The time for the head of a request, in ms: from its first byte, or from the beginning of the
 *  connection. */
const headersMs = 30_000
/** The time that a connection without a request is kept, in ms. */
const idleConnectionMs = 72_000
/** The time without traffic after which a TCP connection is probed, in ms. A peer that has vanished
 *  is noticed some seconds later. */
const probeMs = 60_000
/** The time that a browser may keep the answer to a preflight, in seconds. */
const preflightSeconds = 600

/** The largest number of connections that all TCP addresses have together by default. */
export const connectionsMax = 4_096
/** The part of the connections of an address that may be in their handshake of TLS. */
const handshakesShare = 1 / 4
/** The number of open files that connections leave to the store, to jobs and to their pipes. */
const otherFiles = 512
/** The largest number of connections that wait to be accepted. The system has a bound of its own
 *  (Linux: 4,096). With Node's default of 511 a burst drops connections, and their clients wait for
 *  seconds until the system tries again. */
export const acceptBacklog = 4_096

/** The headers that a page of an allowed origin may send. */
const allowedHeaders = [
  'authorization',
  'content-type',
  'content-digest',
  'content-md5',
  'digest',
  'if-match',
  'if-none-match',
  'if-range',
  'range',
  'traceparent',
  'x-request-id',
  'idempotency-key',
  'idempotency-since',
  'last-event-id',
  'producer-id',
  'producer-epoch',
  'producer-seq',
  'repr-digest',
  'tailrace-guards',
].join(', ')
const allowedMethods = 'GET, HEAD, PUT, POST, PATCH, DELETE'

export type FrontOptions = JudgeRules & {
  /** The time without a new byte after which a body is given up, in ms. Default: no bound. */
  readonly bodyStallMs?: number
  /** The largest number of connections. One more ends the connection that has been idle for the
   *  longest time. If all of them have a request or are websockets, the new one is ended. Default:
   *  no bound. */
  readonly connectionsMax?: number
  /** The memory for the bodies of the whole server. Default: no bound. */
  readonly bodies?: BodyBudget
  /** The memory of all that clients have not read yet. Default: no bound. */
  readonly backlogs?: Backlogs
  /** The pace of the requests of all clients together. Default: no pace. */
  readonly requestPace?: Pace
  /** Speaks TLS. Default: plain HTTP. */
  readonly tls?: TlsOptions | undefined
}

/** Returns the largest number of connections of all TCP addresses together for a process that may
 *  open `filesMax` files: all but `otherFiles`, but at least half, and at most `connectionsMax`.
 *  Undefined: the process may open any number. */
export function connectionsWithin(filesMax: number | undefined): number {
  if (filesMax === undefined) return connectionsMax
  return Math.min(connectionsMax, Math.max(filesMax - otherFiles, filesMax >> 1))
}

type Route = (request: IncomingMessage, response: ServerResponse) => void
type Refusal = { readonly error: TailraceError; readonly status: number }
/** The HTTP server of one address. */
export class Front {
  readonly server: HttpServer
  /** Emits `upgrade` as `server` does, for requests that become websockets only. It never listens. */
  readonly websockets = createServer()
  readonly #options: FrontOptions
  readonly #route: Route
  readonly #sockets = new Set<Socket>()
  readonly #upgraded = new WeakSet<Socket>()
  /** The TCP connections whose handshake of TLS has not ended, the oldest first. */
  readonly #handshakes = new Set<Socket>()
  readonly #pipelines: Pipelines
  readonly #acceptors: Acceptors

  constructor(options: FrontOptions, route: Route) {
    this.#options = options
    this.#route = route
    this.#pipelines = new Pipelines(() => options.requestPace?.share())
    const judge = new Judge(options, openPaths)
    const http: ServerOptions = {
      IncomingMessage: judgedRequest((request) => {
        const pipelined = this.#pipelines.get(request.socket)?.size ?? 0
        return judge.verdictOf(request, pipelined, this.#pipelines.most)
      }),
      keepAlive: true,
      keepAliveInitialDelay: probeMs,
      keepAliveTimeout: idleConnectionMs,
      headersTimeout: headersMs,
      // A body may take any time while it moves: `streamBody` gives up a stalled one.
      requestTimeout: 0,
      // A request without Host is answered in the envelope of rfc/12, rule 3.
      requireHostHeader: false,
    }
    this.server = options.tls ? createTlsServer(http, options.tls) : createServer(http)
    this.#acceptors = new Acceptors(this.server, { keepAliveMs: probeMs })
    this.server
      .on('connection', (socket: Socket) => {
        this.#add(socket)
        if (options.tls) this.#addHandshake(socket)
      })
      .on('secureConnection', (socket: Socket) => this.#addSecure(socket))
      .on('request', (request: FrontRequest, response) => this.#take(request, response))
      .on('checkContinue', (request: FrontRequest, response) => this.#take(request, response))
      .on('checkExpectation', (request: FrontRequest, response) => {
        this.#take(request, response, unknownExpectation(request))
      })
      .on('upgrade', (request: FrontRequest, socket, head) => {
        this.#takeSocket(request, socket as Socket, head)
      })
      .on('connect', (request: FrontRequest, socket, head) => {
        this.#takeSocket(request, socket as Socket, head)
      })
      .on('clientError', (error: NodeJS.ErrnoException, socket) => {
        this.#refuseUnread(error, socket as Socket)
      })
  }

  /** Accepts several connections in each turn of the event loop. REQUIRES: the server listens.
   *  Throws EMISCONFIGURED (no native build), EIO. */
  async accept(): Promise<void> {
    await this.#acceptors.open(acceptBacklog)
  }

  /** Gives new connections another certificate. REQUIRES: the server speaks TLS. */
  replacePair(pair: TlsOptions['pair']): void {
    replacePair(this.server, pair)
  }

  /** Ends every connection, websockets too, and accepts no more. */
  destroySockets(): void {
    this.#acceptors.close()
    for (const socket of this.#sockets) {
      if (this.#isIdle(socket)) socket.destroy()
      else resetConnection(socket)
    }
  }

  #add(socket: Socket): void {
    if (this.#sockets.has(socket)) return // it comes back after a body in chunks
    const { connectionsMax: max = Number.POSITIVE_INFINITY } = this.#options
    if (this.#sockets.size >= max) this.#makeRoom(socket)
    if (socket.destroyed) return
    this.#sockets.add(socket)
    socket.once('close', () => {
      this.#sockets.delete(socket)
      this.#closeResponses(socket)
    })
  }

  /** Ends the handshake that began first if there are too many: each takes 60 KB. */
  #addHandshake(socket: Socket): void {
    if (socket.destroyed) return
    const { connectionsMax: max = Number.POSITIVE_INFINITY } = this.#options
    const [first] = this.#handshakes
    if (first && this.#handshakes.size >= max * handshakesShare) {
      this.#handshakes.delete(first)
      first.destroy()
    }
    this.#handshakes.add(socket)
    socket.once('close', () => this.#handshakes.delete(socket))
  }

  /** Puts the socket of TLS in the place of the one below, once its handshake has ended. */
  #addSecure(socket: Socket): void {
    const below = tcpSocketOf(socket)
    this.#handshakes.delete(below)
    this.#sockets.delete(below)
    this.#add(socket)
  }

  /** Ends the connection that has been idle for the longest time, or else the new one. `#sockets`
   *  is in the order of the last activity. */
  #makeRoom(added: Socket): void {
    for (const socket of this.#sockets) {
      if (this.#upgraded.has(socket) || !this.#isIdle(socket)) continue
      this.#sockets.delete(socket)
      socket.destroy()
      return
    }
    added.destroy()
  }

  /** Closes the responses that wait behind another one when their connection has closed. Node
   *  closes only the response that was being sent; the others would work and wait for ever. */
  #closeResponses(socket: Socket): void {
    for (const response of this.#pipelines.get(socket)?.responses ?? []) {
      if (response.socket) continue
      response.destroy()
      response.emit('close')
    }
  }

  #isIdle(socket: Socket): boolean {
    return this.#pipelines.get(socket)?.empty ?? true
  }

  /** Queues a request. `refusal` is the answer if the client is admitted; absent: the route
   *  answers. */
  #take(request: FrontRequest, response: ServerResponse, refusal?: Refusal): void {
    const { socket } = request
    this.#count(response)
    response.once('close', () => {
      if (this.#sockets.delete(socket)) this.#sockets.add(socket)
    })
    this.#pipelines.of(socket).add(response, () => this.#answer(request, response, refusal))
  }

  /** Takes a socket which Node reads no more: for a websocket, for a body, or to refuse its request. */
  #takeSocket(request: FrontRequest, socket: Socket, head: Buffer): void {
    const { verdict } = request
    socket.on('error', () => {}) // a close follows
    const pipeline = this.#pipelines.of(socket)
    // Node no longer does it.
    socket.on('drain', () => pipeline.responses[0]?.emit('drain'))
    if (verdict?.kind === 'websocket') {
      pipeline.whenEmpty(() => this.#takeUpgrade(request, socket, head))
      return
    }
    if (verdict?.kind === 'chunked') {
      pipeline.whenEmpty(() => this.#takeChunked(request, socket, head))
      return
    }
    if (verdict?.kind !== 'refused') {
      socket.destroy()
      return
    }
    const { error, headers } = verdict
    const bodiless = request.method === 'HEAD'
    pipeline.whenEmpty(() => refuseSocket(socket, { error, headers, bodiless }), strangerRest.ms)
  }

  #takeUpgrade(request: FrontRequest, socket: Socket, head: Buffer): void {
    this.#upgraded.add(socket)
    this.#count(socket)
    this.websockets.emit('upgrade', request, socket, head)
  }

  /** Takes a request whose body comes in chunks, and is read here. Node gets the connection back after the
   *  answer. */
  #takeChunked(request: FrontRequest, socket: Socket, head: Buffer): void {
    const response = new ServerResponse(request)
    response.shouldKeepAlive = keepsAlive(request)
    response.assignSocket(socket)
    const body = new ChunkedBody(request, head, (error) => this.#refuseUnread(error, socket))
    response.once('finish', () => {
      const isKept = response.shouldKeepAlive && response.getHeader('connection') !== 'close'
      if (!isKept || !body.done || socket.destroyed) {
        socket.destroySoon()
        return
      }
      body.leave()
      socket.removeAllListeners('drain').removeAllListeners('error')
      response.detachSocket(socket)
      response.destroy()
      response.emit('close')
      this.server.emit(this.#options.tls ? 'secureConnection' : 'connection', socket)
      socket.resume()
    })
    const { expect } = request.headers
    const isKnown = expect === undefined || expect.toLowerCase() === '100-continue'
    this.#take(request, response, isKnown ? undefined : unknownExpectation(request))
  }

  #answer(request: FrontRequest, response: ServerResponse, refusal?: Refusal): void {
    for (const [name, value] of Object.entries(commonHeaders)) response.setHeader(name, value)
    // Node reads no request after one that offered an upgrade.
    if (request.upgradeOffered) response.setHeader('connection', 'close')
    const { verdict } = request
    if (verdict && 'headers' in verdict)
      response.setHeaders(new Map(Object.entries(verdict.headers)))
    let rest: Rest = strangerRest
    try {
      if (this.#options.activity.closed) throw stopping()
      rest = admittedRest
      if (request.headers.origin !== undefined && request.method === 'OPTIONS') {
        answerPreflight(request, response)
        return
      }
      if (refusal) {
        refuse(request, response, { ...refusal, rest })
        return
      }
      const unsupported = checkMeaning(request)
      if (unsupported) {
        refuse(request, response, { ...unsupported, rest })
        return
      }
    } catch (error) {
      refuse(request, response, { error: toTailraceError(error), rest })
      return
    }
    if (request.headers.expect !== undefined) response.writeContinue()
    request.bodyStallMs = this.#options.bodyStallMs
    const share = this.#options.bodies?.begin()
    if (share) {
      request.bodyShare = share
      response.once('close', () => share.end())
    }
    const backlog = this.#options.backlogs?.begin(() => resetConnection(request.socket))
    if (backlog) {
      request.backlog = backlog
      response.once('prefinish', () => backlog.set(response.writableLength))
      response.once('close', () => backlog.end())
    }
    this.#route(request, response)
  }

  #count(open: ServerResponse | Socket): void {
    const counted = this.#options.activity.begin()
    open.once('close', counted.end)
  }

  /** Refuses a request that the parser could not read, or that took too long. */
  #refuseUnread(error: NodeJS.ErrnoException, socket: Socket): void {
    const responses = this.#pipelines.get(socket)?.responses ?? []
    const begun = responses.some(({ headersSent }) => headersSent)
    // Nothing can be written into the middle of another answer. What comes after a refusal is
    // dropped.
    if (error.code === 'ECONNRESET' || begun || !socket.writable) {
      // The end of an answer of HTTP/1.0 may be the end of its connection, so an orderly end would make
      // the answer look whole.
      if (begun) resetConnection(socket)
      else if (!socket.writableEnded) socket.destroy()
      return
    }
    const { code, status } = unreadOf(error)
    const refusal = new TailraceError(code, `the request cannot be read: ${error.message}`)
    refuseSocket(socket, { error: refusal, status })
  }
}

/** True if the client does not end its connection with the answer. */
function keepsAlive({ headers: { connection = '' }, httpVersion }: IncomingMessage): boolean {
  const has = (word: string) => new RegExp(`(^|,)[ \\t]*${word}[ \\t]*(,|$)`, 'i').test(connection)
  return httpVersion === '1.0' ? has('keep-alive') : !has('close')
}

function unknownExpectation({ headers: { expect } }: IncomingMessage): Refusal {
  const what = `no expectation but 100-continue is known, not "${expect}"`
  return { error: invalid(what), status: 417 }
}

function stopping(): TailraceError {
  return new TailraceError('ECLOSED', 'the server is stopping: try again')
}

function answerPreflight(request: IncomingMessage, response: ServerResponse): void {
  const asksPrivate = request.headers['access-control-request-private-network'] === 'true'
  response.writeHead(204, {
    'access-control-allow-headers': allowedHeaders,
    'access-control-allow-methods': allowedMethods,
    'access-control-max-age': String(preflightSeconds),
    ...(asksPrivate ? { 'access-control-allow-private-network': 'true' } : {}),
  })
  response.end()
}

/** Returns the code and the status for an error of Node's HTTP parser. */
function unreadOf(error: NodeJS.ErrnoException): { readonly code: Code; readonly status: number } {
  switch (error.code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return { code: 'ETIMEDOUT', status: 408 }
    case 'HPE_HEADER_OVERFLOW':
      return { code: 'E2BIG', status: 431 }
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return { code: 'E2BIG', status: 413 }
    default:
      return { code: 'EINVAL', status: 400 }
  }
}
