/** The HTTP server under the routes: who is let in, and which requests get as far as a route. See
 *  rfc/12, rules 3, 7 and 25 to 28, and rfc/13, rule 7.
 *  Invariant: Host, Origin and token are looked at before the path is, on every way in. A socket ends
 *  with its refusal, or within a named time; `close` ends those that are left. */

import {
  createServer,
  type Server as HttpServer,
  IncomingMessage,
  type ServerResponse,
} from 'node:http'
import type { Socket } from 'node:net'
import { invalid } from '../base/shape.js'
import { type Code, TailraceError, toTailraceError } from '../error.js'
import { requests } from '../wire/requests.js'
import { Acceptors } from './acceptors.js'
import { type Access, bearerOf, checkHost, checkOrigin, checkToken } from './access.js'
import type { Activity } from './activity.js'
import type { BodyBudget, BodyShare } from './body-budget.js'
import { checkMeaning } from './meaning.js'
import { Pipeline } from './pipeline.js'
import {
  admittedRest,
  commonHeaders,
  type Rest,
  refuse,
  refuseSocket,
  strangerRest,
} from './refusal.js'

/** Paths that need no token, with whatever method: nothing of the store is in their answers but its id. */
const openPaths: ReadonlySet<string> = new Set(
  [...requests.values()].filter(({ right }) => right === 'anyone').map(({ path }) => path),
)

/** A connection has this long for the head of a request, from its first byte or its beginning. */
export const headersMs = 30_000
/** A connection without a request is kept this long. */
export const idleConnectionMs = 72_000
/** A TCP connection without traffic is probed after this time: a peer that has vanished is noticed
 *  some seconds later. */
export const probeMs = 60_000
/** How long a browser may keep the answer to a preflight. */
const preflightSeconds = 600

/** Connections over TCP at once. One more ends the one on which nothing has happened for longest, or itself
 *  where each of them has a request or is a websocket. */
export const connectionsMax = 4_096
/** Open files that connections leave to the store, to jobs and their pipes; where the process may have few, half of
 *  them. */
const otherFiles = 512
/** Connections that may wait to be accepted; the system has a bound of its own (Linux: 4,096). With Node's 511
 *  a burst of connections makes others wait for seconds until they are tried again. */
export const acceptBacklog = 4_096

/** Path of websockets. Everywhere else an offer to upgrade is ignored (RFC 9110, 7.8). */
export const websocketPath = '/v1/ws'

/** Headers that a page of an allowed origin may send, and those that it may see. */
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
  /** Asked at each request: the addresses are known only once the server listens. */
  readonly access: () => Access
  /** Token of a TCP server: requests must name the server, and carry it. */
  readonly token?: string
  /** A body that stands still for longer is given up. Default: it may. */
  readonly bodyStallMs?: number
  /** Default: no bound. */
  readonly connectionsMax?: number
  /** Memory for the bodies of the whole server. */
  readonly bodies?: BodyBudget
}

/** Connections of all addresses together that a process may have which may open so many files. */
export function connectionsWithin(filesMax: number | undefined): number {
  if (filesMax === undefined) return connectionsMax
  return Math.min(connectionsMax, Math.max(filesMax - otherFiles, filesMax >> 1))
}

type Route = (request: IncomingMessage, response: ServerResponse) => void
type Refusal = { readonly error: TailraceError; readonly status: number }

/** A request with what the front knows of it. */
export class FrontRequest extends IncomingMessage {
  /** See `FrontOptions`. No initial value: the base class's constructor has set what is here. */
  declare bodyStallMs: number | undefined
  /** The body's share of `FrontOptions.bodies`. It is given back with the answer: what was read is held until then. */
  declare bodyShare?: BodyShare
  /** Whether the parser found an offer to upgrade. */
  declare upgradeOffered: boolean | undefined
}

export class Front {
  readonly server: HttpServer
  readonly #options: FrontOptions
  readonly #route: Route
  readonly #sockets = new Set<Socket>()
  readonly #websockets = new WeakSet<Socket>()
  readonly #pipelines = new WeakMap<Socket, Pipeline>()
  readonly #acceptors: Acceptors

  constructor(options: FrontOptions, route: Route) {
    this.#options = options
    this.#route = route
    this.server = createServer({
      IncomingMessage: upgradableRequest((request) => this.#admitsWebsocket(request)),
      keepAlive: true,
      keepAliveInitialDelay: probeMs,
      keepAliveTimeout: idleConnectionMs,
      headersTimeout: headersMs,
      // A body may take any time, as long as it moves: `streamBody` sees to that.
      requestTimeout: 0,
      // Its absence is answered in our envelope.
      requireHostHeader: false,
    })
    this.#acceptors = new Acceptors(this.server, { keepAliveMs: probeMs })
    this.server
      .on('connection', (socket: Socket) => this.#add(socket))
      .on('request', (request: FrontRequest, response) => this.#take(request, response))
      .on('checkContinue', (request: FrontRequest, response) => this.#take(request, response))
      .on('checkExpectation', (request: FrontRequest, response) => {
        const what = `no expectation but 100-continue is known, not "${request.headers.expect}"`
        this.#take(request, response, { error: invalid(what), status: 417 })
      })
      // Another listener makes the websocket. The request was counted as admitted by then.
      .on('upgrade', (_request, socket) => {
        this.#websockets.add(socket as Socket)
        this.#count(socket as Socket)
      })
      .on('clientError', (error: NodeJS.ErrnoException, socket) => {
        this.#refuseUnread(error, socket as Socket)
      })
  }

  /** Takes new connections as fast as they come. REQUIRES: the server listens. Throws EIO. */
  async accept(): Promise<void> {
    await this.#acceptors.open(acceptBacklog)
  }

  /** Ends every connection that is left, those of websockets too, and takes none any more. */
  destroySockets(): void {
    this.#acceptors.close()
    for (const socket of this.#sockets) {
      if (this.#isIdle(socket)) socket.destroy()
      else cutAnswer(socket)
    }
  }

  #add(socket: Socket): void {
    const { connectionsMax: max = Number.POSITIVE_INFINITY } = this.#options
    if (this.#sockets.size >= max) this.#makeRoom(socket)
    if (socket.destroyed) return
    this.#sockets.add(socket)
    socket.once('close', () => {
      this.#sockets.delete(socket)
      this.#closeResponses(socket)
    })
  }

  /** The set has them in the order of their last sign of life. */
  #makeRoom(added: Socket): void {
    for (const socket of this.#sockets) {
      if (this.#websockets.has(socket) || !this.#isIdle(socket)) continue
      this.#sockets.delete(socket)
      socket.destroy()
      return
    }
    added.destroy()
  }

  /** Node tells only the response that was being sent that its connection has gone: those that waited behind it
   *  would work on, and wait, for ever. */
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

  /** `refusal`: what is wrong with it, for those who are admitted. */
  #take(request: FrontRequest, response: ServerResponse, refusal?: Refusal): void {
    const { socket } = request
    const pipeline = this.#pipelines.get(socket) ?? new Pipeline(socket)
    this.#pipelines.set(socket, pipeline)
    this.#count(response)
    response.once('close', () => {
      if (this.#sockets.delete(socket)) this.#sockets.add(socket)
    })
    pipeline.add(response, () => this.#answer(request, response, refusal))
  }

  #answer(request: FrontRequest, response: ServerResponse, refusal?: Refusal): void {
    for (const [name, value] of Object.entries(commonHeaders)) response.setHeader(name, value)
    // Node does not read on behind a request that offered an upgrade.
    if (request.upgradeOffered) response.setHeader('connection', 'close')
    let rest: Rest = strangerRest
    try {
      if (this.#admit(request, response)) return
      rest = admittedRest
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
      response.once('close', () => share[Symbol.dispose]())
    }
    this.#route(request, response)
  }

  /** Whether it was answered: a preflight. Throws EINVAL, EPERM, EUNAUTH, ECLOSED. */
  #admit(request: FrontRequest, response: ServerResponse): boolean {
    this.#checkPlace(request)
    const { authorization, origin } = request.headers
    if (origin !== undefined) {
      response.setHeader('access-control-allow-origin', origin)
      response.setHeader('access-control-expose-headers', exposedHeaders)
      if (request.method === 'OPTIONS') {
        answerPreflight(request, response)
        return true
      }
    }
    const { token, activity } = this.#options
    if (token !== undefined && !openPaths.has(pathOf(request))) {
      checkToken(token, bearerOf(authorization))
    }
    if (activity.closed) throw new TailraceError('ECLOSED', 'the server is stopping: try again')
    return false
  }

  /** Throws EINVAL, EPERM: who asks may not name this server, or not from there. */
  #checkPlace(request: FrontRequest): void {
    const { host, origin } = request.headers
    const access = this.#options.access()
    const named = (pattern: RegExp) =>
      request.rawHeaders.filter((name, at) => at % 2 === 0 && pattern.test(name)).length
    if (named(/^host$/i) > 1) throw invalid('a request has one Host header')
    // Node takes the first; a proxy in front may have looked at the other.
    if (named(/^authorization$/i) > 1) throw invalid('a request has one Authorization header')
    if (this.#options.token !== undefined) checkHost(access, authorityOf(request.url) ?? host)
    else if (host === undefined && request.httpVersion !== '1.0') {
      throw invalid('a request has a Host header')
    }
    checkOrigin(access, origin)
  }

  /** Whether a request that offers an upgrade becomes a websocket. One that does not is answered as
   *  any other, so a stranger's too. */
  #admitsWebsocket(request: FrontRequest): boolean {
    const { upgrade, authorization } = request.headers
    if (request.method !== 'GET' || upgrade?.toLowerCase() !== 'websocket') return false
    // With parameters it is refused by its route.
    if (request.url !== websocketPath) return false
    if (request.headers['sec-websocket-version'] !== '13') return false
    if (!/^[+/0-9A-Za-z]{22}==$/.test(request.headers['sec-websocket-key'] ?? '')) return false
    if (this.#options.activity.closed) return false
    try {
      this.#checkPlace(request)
      // A browser's websocket can carry no header: its first frame brings the token (connection.ts).
      const { token } = this.#options
      if (token !== undefined && authorization !== undefined) {
        checkToken(token, bearerOf(authorization))
      }
      return true
    } catch {
      return false
    }
  }

  #count(open: ServerResponse | Socket): void {
    const counted = this.#options.activity.begin()
    open.once('close', counted.end)
  }

  /** Refuses a request that the parser could not read, or waited for too long. */
  #refuseUnread(error: NodeJS.ErrnoException, socket: Socket): void {
    const responses = this.#pipelines.get(socket)?.responses ?? []
    const begun = responses.some(({ headersSent }) => headersSent)
    // In the middle of another answer there is nothing to say; what comes behind a refusal is dropped.
    if (error.code === 'ECONNRESET' || begun || !socket.writable) {
      if (begun) cutAnswer(socket)
      else if (!socket.writableEnded) socket.destroy()
      return
    }
    const { code, status } = unreadOf(error)
    refuseSocket(
      socket,
      new TailraceError(code, `the request cannot be read: ${error.message}`),
      status,
    )
  }
}

/** Ends a connection in the middle of an answer. One of HTTP/1.0 may have nothing but the connection's end to
 *  say that it is whole: over TCP that is a reset. */
function cutAnswer(socket: Socket): void {
  if (socket.localPort === undefined) socket.destroy()
  else socket.resetAndDestroy()
}

/** The class of requests of one server. Node asks for `upgrade` when it has read the head; with false it
 *  reads the body, and the request is one like any other. */
function upgradableRequest(admits: (request: FrontRequest) => boolean): typeof FrontRequest {
  return class extends FrontRequest {
    get upgrade(): boolean {
      return this.upgradeOffered === true && admits(this)
    }
    set upgrade(offered: boolean | null) {
      this.upgradeOffered = offered === true
    }
  }
}

/** Percent-encoded, as it came. */
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

/** Our code and status for an error of Node's HTTP parser. */
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

/** Host and port of a request target in absolute form, which counts in the place of the Host header (RFC 9112, 3.2.2). */
function authorityOf(target: string | undefined): string | undefined {
  return /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(target ?? '')?.[1]
}
