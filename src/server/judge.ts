/** Judges requests by their heads: Host and Origin, then the token, before the path. See rfc/12, rules 3, 7
 *  and 25 to 28, and rfc/13, rule 7.
 *  Invariant: who is not admitted has no body, and few requests at once. */

import type { IncomingMessage } from 'node:http'
import { invalid } from '../base/shape.js'
import { TailraceError, toTailraceError } from '../error.js'
import { type Access, bearerOf, checkHost, checkOrigin } from './access.js'
import type { Activity } from './activity.js'
import { isChunked } from './chunked.js'
import type { FrontRequest, Headers, Verdict } from './front-request.js'
import { type QuerySecret, querySecretOf } from './linked.js'
import type { Meters } from './meters.js'
import { checkNoServiceWorker } from './page-safety.js'
import type { PrincipalSource } from './principal.js'
import { hasBody } from './refusal.js'

/** The largest number of requests of one connection that have no whole answer, and no token. One more
 *  ends the connection. */
export const strangersPipelinedMax = 16

/** The path of websockets. On any other path an offer to upgrade is ignored (RFC 9110, 7.8). */
export const websocketPath = '/v1/ws'

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
  'x-request-id',
].join(', ')

/** The rules of one server. */
export type JudgeRules = {
  readonly activity: Activity
  readonly meters: Meters
  /** Returns the access rules. It is called for each request, since the addresses are known only
   *  once the server listens. */
  readonly access: () => Access
  /** The principals of the server. */
  readonly principals: PrincipalSource
  /** True for a TCP server: requests must bring a token, and name the server in Host. Otherwise one
   *  without a token is the owner's. */
  readonly needsToken: boolean
}

/** The paths that need no token, whatever the method. */
export type OpenPaths = ReadonlySet<string>

/** The judge of one server. */
export class Judge {
  readonly #rules: JudgeRules
  readonly #openPaths: OpenPaths

  constructor(rules: JudgeRules, openPaths: OpenPaths) {
    this.#rules = rules
    this.#openPaths = openPaths
  }

  /** Judges a request by its head. `pipelined`: the number of requests of its connection that have no whole
   *  answer; `most`: the largest number that it may have. */
  verdictOf(request: FrontRequest, pipelined: number, most: number): Verdict {
    if (pipelined >= most) return { kind: 'flood' }
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
      const refused = toTailraceError(error)
      this.#rules.meters.refuse(refused.code)
      return { kind: 'refused', headers, error: refused }
    }
  }

  /** Names the principal, and returns true if the request needs no token; what else it brings is not
   *  looked at. Throws EUNAUTH. */
  #admitsStranger(request: FrontRequest, isWebsocket: boolean): boolean {
    const { principals, needsToken } = this.#rules
    const { authorization, origin } = request.headers
    const token = bearerOf(authorization)
    const isPreflight = origin !== undefined && request.method === 'OPTIONS'
    const secret = isPreflight ? undefined : querySecretOf(request.url ?? '')
    if (secret) {
      if (authorization !== undefined) throw invalid(`a request brings a token or a ${secret.kind}`)
      return this.#admitsSecret(request, secret)
    }
    if (!needsToken) {
      request.principal = token === undefined ? principals.owner : principals.of(token)
      return false
    }
    // A browser cannot set headers of a websocket: its first frame brings the token (connection.ts).
    const isOpen =
      isPreflight ||
      this.#openPaths.has(pathOf(request)) ||
      (isWebsocket && authorization === undefined)
    if (isOpen && !hasBody(request)) {
      request.principal = principals.stranger
      return true
    }
    request.principal = principals.of(token)
    return false
  }

  /** Names the principal of a ticket. A link is checked by its route, so that who brings one counts as
   *  a stranger here. Throws EUNAUTH, EPERM. */
  #admitsSecret(request: FrontRequest, { kind, text }: QuerySecret): boolean {
    const { principals } = this.#rules
    if (hasBody(request) || (request.method !== 'GET' && request.method !== 'HEAD')) {
      throw new TailraceError('EPERM', `a ${kind} lets read: send a token`)
    }
    if (kind === 'ticket') {
      request.principal = principals.ofTicket(text)
      return false
    }
    request.principal = principals.stranger
    request.link = text
    return true
  }

  /** Checks Host and Origin, and what the browser says of the page. Throws EINVAL, EPERM. */
  #checkPlace(request: FrontRequest): void {
    const { host, origin } = request.headers
    const access = this.#rules.access()
    const named = (pattern: RegExp) =>
      request.rawHeaders.filter((name, at) => at % 2 === 0 && pattern.test(name)).length
    if (named(/^host$/i) > 1) throw invalid('a request has one Host header')
    // Node takes the first one, and a proxy in front of the server may have checked the other.
    if (named(/^authorization$/i) > 1) throw invalid('a request has one Authorization header')
    if (this.#rules.needsToken) checkHost(access, authorityOf(request.url) ?? host)
    else if (host === undefined && request.httpVersion !== '1.0') {
      throw invalid('a request has a Host header')
    }
    checkOrigin(access, origin)
    checkNoServiceWorker(request)
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
    return !this.#rules.activity.closed
  }
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

/** Returns the path of a request, percent-encoded as it came. */
function pathOf(request: IncomingMessage): string {
  const { url = '' } = request
  const end = url.indexOf('?')
  return end < 0 ? url : url.slice(0, end)
}

/** Returns host and port of a request target in absolute form, which replaces the Host header (RFC
 *  9112, 3.2.2). Undefined for a target in another form. */
function authorityOf(target: string | undefined): string | undefined {
  return /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(target ?? '')?.[1]
}
