/** The HTTP server below the routes. It accepts connections, admits clients, and refuses requests
 *  before they reach a route. See rfc/12, rules 3, 7, 25 to 28 and 32, and rfc/13, rule 7.
 *  Invariant: Host, Origin and token are checked before the path, also for websockets. The socket
 *  of a refused client ends with the refusal, or within a named time. `destroySockets` ends the
 *  rest. */

import { createServer, type Server as HttpServer, IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { invalid } from '../base/shape.js'
import { type Code, TailraceError, toTailraceError } from '../error.js'
import { requests } from '../wire/requests.js'
import { Acceptors } from './acceptors.js'
import { type Access, bearerOf, checkHost, checkOrigin, checkToken } from './access.js'
import type { Activity } from './activity.js'
import type { BodyBudget, BodyShare } from './body-budget.js'
import { ChunkedBody, isChunked } from './chunked.js'
import { checkMeaning } from './meaning.js'
import type { Pace } from './pace.js'
import { Pipeline, pipelinedMax } from './pipeline.js'
import {
  admittedRest,
  commonHeaders,
  hasBody,
  type Rest,
  refuse,
  refuseSocket,
  strangerRest,
} from './refusal.js'

/** The paths that need no token, whatever the method. Their answers have nothing of the store but
 *  its id. */
const openPaths: ReadonlySet<string> = new Set(
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
/** The number of open files that connections leave to the store, to jobs and to their pipes. */
const otherFiles = 512
/** The largest number of connections that wait to be accepted. The system has a bound of its own
 *  (Linux: 4,096). With Node's default of 511 a burst drops connections, and their clients wait for
 *  seconds until the system tries again. */
export const acceptBacklog = 4_096

/** The largest number of requests of one connection that have no whole answer, and no token. One more
 *  ends the connection. */
export const strangersPipelinedMax = 16

/** The path of websockets. On any other path an offer to upgrade is ignored (RFC 9110, 7.8). */
export const websocketPath = '/v1/ws'

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
  'idempotency-key',
  'last-event-id',
  'producer-id',
  'producer-epoch',
  'producer-seq',
  'repr-digest',
  'tailrace-guards',
].join(', ')
/** The headers of answers that a page of an allowed origin may read. */
const exposedHeaders = [
  'accept-ranges',
  'content-range',
  'etag',
  'retry-after',
  'tailrace-count',
  'tailrace-error',
  'tailrace-position',
  'tailrace-seq',
  'tailrace-stat',
].join(', ')
const allowedMethods = 'GET, HEAD, PUT, POST, PATCH, DELETE'

export type FrontOptions = {
  readonly activity: Activity
  /** Returns the access rules. It is called for each request, since the addresses are known only
   *  once the server listens. */
  readonly access: () => Access
  /** The token of a TCP server. Requests must carry it, and name the server in Host. Absent:
   *  neither is checked. */
  readonly token?: string
  /** The time without a new byte after which a body is given up, in ms. Default: no bound. */
  readonly bodyStallMs?: number
  /** The largest number of connections. One more ends the connection that has been idle for the
   *  longest time. If all of them have a request or are websockets, the new one is ended. Default:
   *  no bound. */
  readonly connectionsMax?: number
  /** The memory for the bodies of the whole server. Default: no bound. */
  readonly bodies?: BodyBudget
  /** The pace of the requests of all clients together. Default: no pace. */
  readonly requestPace?: Pace
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
type Headers = Readonly<Record<string, string>>

/** The judgement of a request by its head. All but `admitted` end the reading of the connection by Node's
 *  parser there: it makes an event of each chunk and each request of what it was given, and a read may
 *  have ten thousand of them. */
type Verdict =
  | { readonly kind: 'admitted' | 'chunked' | 'websocket'; readonly headers: Headers }
  | { readonly kind: 'refused'; readonly headers: Headers; readonly error: TailraceError }
  | { readonly kind: 'flood' }

/** A request, and the fields that the front adds to it. */
class FrontRequest extends IncomingMessage {
  /** The time of `FrontOptions.bodyStallMs`. */
  declare bodyStallMs: number | undefined
  /** The body's share of `FrontOptions.bodies`. It is given back when the answer has ended, and so has
   *  the work on the request: the body is held until then. */
  declare bodyShare?: BodyShare
  /** True if the request offers an upgrade. `declare`: an initial value would undo what the
   *  constructor of the base class has set. */
  declare upgradeOffered: boolean | undefined
  declare verdict: Verdict | undefined
  /** The source of the body, if Node does not read it. */
  declare source?: () => void

  override push(chunk: unknown, encoding?: BufferEncoding): boolean {
    // Node ends the body that it does not read.
    if (chunk === null && this.verdict?.kind === 'chunked' && !this.source) return false
    return super.push(chunk, encoding)
  }

  override _read(size: number): void {
    if (this.source) this.source()
    else super._read(size)
  }
}

/** The HTTP server of one address. */
export class Front {
  readonly server: HttpServer
  /** Emits `upgrade` as `server` does, for requests that become websockets only. It never listens. */
  readonly websockets = createServer()
  readonly #options: FrontOptions
  readonly #route: Route
  readonly #sockets = new Set<Socket>()
  readonly #upgraded = new WeakSet<Socket>()
  readonly #pipelines = new WeakMap<Socket, Pipeline>()
  readonly #acceptors: Acceptors

  constructor(options: FrontOptions, route: Route) {
    this.#options = options
    this.#route = route
    this.server = createServer({
      IncomingMessage: judgedRequest((request) => this.#verdictOf(request)),
      keepAlive: true,
      keepAliveInitialDelay: probeMs,
      keepAliveTimeout: idleConnectionMs,
      headersTimeout: headersMs,
      // A body may take any time while it moves: `streamBody` gives up a stalled one.
      requestTimeout: 0,
      // A request without Host is answered in the envelope of rfc/12, rule 3.
      requireHostHeader: false,
    })
    this.#acceptors = new Acceptors(this.server, { keepAliveMs: probeMs })
    this.server
      .on('connection', (socket: Socket) => this.#add(socket))
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

  /** Ends every connection, websockets too, and accepts no more. */
  destroySockets(): void {
    this.#acceptors.close()
    for (const socket of this.#sockets) {
      if (this.#isIdle(socket)) socket.destroy()
      else cutAnswer(socket)
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
    this.#pipelineOf(socket).add(response, () => this.#answer(request, response, refusal))
  }

  #pipelineOf(socket: Socket): Pipeline {
    const pipeline =
      this.#pipelines.get(socket) ?? new Pipeline(socket, this.#options.requestPace?.share())
    this.#pipelines.set(socket, pipeline)
    return pipeline
  }

  /** Takes a socket which Node reads no more: for a websocket, for a body, or to refuse its request. */
  #takeSocket(request: FrontRequest, socket: Socket, head: Buffer): void {
    const { verdict } = request
    if (verdict?.kind === 'websocket') {
      this.#upgraded.add(socket)
      this.#count(socket)
      this.websockets.emit('upgrade', request, socket, head)
      return
    }
    socket.on('error', () => {}) // a close follows
    const pipeline = this.#pipelineOf(socket)
    // Node no longer does it.
    socket.on('drain', () => pipeline.responses[0]?.emit('drain'))
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
      this.server.emit('connection', socket)
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
    this.#route(request, response)
  }

  /** Judges a request by its head. */
  #verdictOf(request: FrontRequest): Verdict {
    const pipelined = this.#pipelines.get(request.socket)?.size ?? 0
    if (pipelined >= pipelinedMax) return { kind: 'flood' }
    let headers: Headers = {}
    try {
      this.#checkPlace(request)
      headers = originHeaders(request)
      const isWebsocket = this.#offersWebsocket(request)
      const isStranger = this.#admitsStranger(request, isWebsocket)
      if (isStranger && pipelined >= strangersPipelinedMax) return { kind: 'flood' }
      if (isWebsocket) return { kind: 'websocket', headers }
      return { kind: isChunked(request) ? 'chunked' : 'admitted', headers }
    } catch (error) {
      return { kind: 'refused', headers, error: toTailraceError(error) }
    }
  }

  /** Returns true if the request needs no token; what else it brings is not looked at. Throws EUNAUTH. */
  #admitsStranger(request: FrontRequest, isWebsocket: boolean): boolean {
    const { token } = this.#options
    if (token === undefined) return false
    const { authorization, origin } = request.headers
    const isPreflight = origin !== undefined && request.method === 'OPTIONS'
    // A browser cannot set headers of a websocket: its first frame brings the token (connection.ts).
    const isOpen =
      isPreflight || openPaths.has(pathOf(request)) || (isWebsocket && authorization === undefined)
    if (isOpen && !hasBody(request)) return true
    checkToken(token, bearerOf(authorization))
    return false
  }

  /** Checks Host and Origin. Throws EINVAL, EPERM. */
  #checkPlace(request: FrontRequest): void {
    const { host, origin } = request.headers
    const access = this.#options.access()
    const named = (pattern: RegExp) =>
      request.rawHeaders.filter((name, at) => at % 2 === 0 && pattern.test(name)).length
    if (named(/^host$/i) > 1) throw invalid('a request has one Host header')
    // Node takes the first one, and a proxy in front of the server may have checked the other.
    if (named(/^authorization$/i) > 1) throw invalid('a request has one Authorization header')
    if (this.#options.token !== undefined) checkHost(access, authorityOf(request.url) ?? host)
    else if (host === undefined && request.httpVersion !== '1.0') {
      throw invalid('a request has a Host header')
    }
    checkOrigin(access, origin)
  }

  /** True if the request offers an upgrade that is taken. Any other one is answered like a request
   *  without the offer. */
  #offersWebsocket(request: FrontRequest): boolean {
    const { upgrade } = request.headers
    if (!request.upgradeOffered) return false
    if (request.method !== 'GET' || upgrade?.toLowerCase() !== 'websocket') return false
    // The route refuses a request with parameters.
    if (request.url !== websocketPath) return false
    if (request.headers['sec-websocket-version'] !== '13') return false
    if (!/^[+/0-9A-Za-z]{22}==$/.test(request.headers['sec-websocket-key'] ?? '')) return false
    return !this.#options.activity.closed
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
      if (begun) cutAnswer(socket)
      else if (!socket.writableEnded) socket.destroy()
      return
    }
    const { code, status } = unreadOf(error)
    const refusal = new TailraceError(code, `the request cannot be read: ${error.message}`)
    refuseSocket(socket, { error: refusal, status })
  }
}

/** Ends a connection in the middle of an answer. Over TCP it resets the connection: the end of an
 *  answer of HTTP/1.0 may be the end of its connection, so an orderly end would make the answer
 *  look whole. */
function cutAnswer(socket: Socket): void {
  if (socket.localPort === undefined) socket.destroy()
  else socket.resetAndDestroy()
}

/** Returns the class of the requests of one server. Node reads `upgrade` after the head of a request. If
 *  it is true, Node's parser stops there and leaves the socket to the listener of `upgrade`. If it is
 *  false, Node reads the body and handles the request like one without an offer. */
function judgedRequest(judge: (request: FrontRequest) => Verdict): typeof FrontRequest {
  return class extends FrontRequest {
    get upgrade(): boolean {
      // The base class sets it before the head is there.
      if (this.upgradeOffered === undefined) return false
      this.verdict ??= judge(this)
      return this.verdict.kind !== 'admitted'
    }
    set upgrade(offered: boolean | null) {
      this.upgradeOffered ??= offered ?? undefined
    }
  }
}

/** True if the client does not end its connection with the answer. */
function keepsAlive({ headers: { connection = '' }, httpVersion }: IncomingMessage): boolean {
  const has = (word: string) => new RegExp(`(^|,)[ \\t]*${word}[ \\t]*(,|$)`, 'i').test(connection)
  return httpVersion === '1.0' ? has('keep-alive') : !has('close')
}

/** Returns the headers of each answer to a page of another origin. REQUIRES: the origin may use the
 *  server. */
function originHeaders({ headers: { origin } }: IncomingMessage): Headers {
  if (origin === undefined) return {}
  return {
    'access-control-allow-origin': origin,
    'access-control-expose-headers': exposedHeaders,
  }
}

function unknownExpectation({ headers: { expect } }: IncomingMessage): Refusal {
  const what = `no expectation but 100-continue is known, not "${expect}"`
  return { error: invalid(what), status: 417 }
}

function stopping(): TailraceError {
  return new TailraceError('ECLOSED', 'the server is stopping: try again')
}

/** Returns the path of a request, percent-encoded as it came. */
function pathOf(request: IncomingMessage): string {
  const { url = '' } = request
  const end = url.indexOf('?')
  return end < 0 ? url : url.slice(0, end)
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

/** Returns host and port of a request target in absolute form, which replaces the Host header (RFC
 *  9112, 3.2.2). Undefined for a target in another form. */
function authorityOf(target: string | undefined): string | undefined {
  return /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(target ?? '')?.[1]
}
