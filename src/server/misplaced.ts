/** Refuses what a request carries though its route does not look at it: a condition, a key of idempotency, a
 *  namespace. See rfc/12, rule 5. Pure.
 *  Invariant: a caller who asks for a guard, or for once, gets it or is told; nothing is dropped. */

import type { IncomingHttpHeaders } from 'node:http'
import { invalid } from '../wire/parse.js'

/** The part of a request that is looked at. `url`: of its route, absent where there is none. */
type Request = {
  readonly method: string
  readonly headers: IncomingHttpHeaders
  readonly query: unknown
  readonly routeOptions: { readonly url?: string | undefined }
}

const readMethods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS'])

const keyRoutes = [/^\/v1\/kv\//, /^\/v1\/treeobj/]

/** Headers that say how a write is meant, and the routes that look at them: of the last ones none does, since
 *  no time is kept with a value, and a method is what the request line says. */
const takers: ReadonlyMap<string, readonly RegExp[]> = new Map([
  ['if-match', keyRoutes],
  ['if-none-match', keyRoutes],
  ['tailrace-guards', [...keyRoutes, /^\/v1\/eventlog\//, /^\/v1\/txn$/]],
  ['idempotency-key', [...keyRoutes, /^\/v1\/eventlog\//, /^\/v1\/txn$/]],
  ['producer-id', [...keyRoutes, /^\/v1\/eventlog\//, /^\/v1\/txn$/]],
  ['if-unmodified-since', []],
  ['if-modified-since', []],
  ['x-http-method-override', []],
  ['x-http-method', []],
  ['x-method-override', []],
])

/** Throws EINVAL. */
export function checkMisplaced(request: Request): void {
  const { method, headers } = request
  const { url } = request.routeOptions
  // There is no route: that is said first.
  if (url === undefined) return
  if (!readMethods.has(method)) {
    for (const [header, routes] of takers) {
      if (headers[header] === undefined || routes.some((route) => route.test(url))) continue
      throw invalid(`${header} means nothing in ${method} ${url}: nothing was done`)
    }
  }
  const query = request.query as Readonly<Record<string, unknown>>
  if (/^\/v1\/jobs/.test(url) && (query['ns'] ?? query['namespace']) !== undefined) {
    throw invalid('jobs are in no namespace of yours: ?namespace means nothing here')
  }
}
