/** Refuses headers that would change a request, but that this request does not read: conditions,
 *  guards, an idempotency key. See rfc/12, rule 5. Pure.
 *  Invariant: a caller whose write asks for a guard or for idempotency gets it or an error. */

import type { IncomingHttpHeaders } from 'node:http'
import { invalid } from '../base/shape.js'
import type { RequestHeader, RequestSpec } from '../wire/request.js'

/** The headers that put conditions on a write, or make it idempotent. */
const meant: readonly RequestHeader[] = [
  'if-match',
  'if-none-match',
  'tailrace-guards',
  'idempotency-key',
  'idempotency-since',
  'producer-id',
  'producer-epoch',
  'producer-seq',
]
/** The headers that no request reads: a value has no time, and the method stands in the request
 *  line. */
const neverMeant = [
  'if-unmodified-since',
  'if-modified-since',
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
] as const

/** Texts that say, for some headers, which requests take them. */
const advice: Readonly<Record<string, string>> = {
  'tailrace-guards': ': it goes with a write whose body is the value',
  'producer-id': ': it numbers the appends of POST /v1/kv; elsewhere Idempotency-Key says it once',
}

/** Throws EINVAL for a header that the request does not read. A read may carry conditions, since
 *  browsers send them by themselves. */
export function checkHeaders(
  { method, path, headers: known = [] }: RequestSpec,
  { headers }: { readonly headers: IncomingHttpHeaders },
): void {
  const reads = method === 'GET' || method === 'HEAD'
  const checked = reads ? (['tailrace-guards'] as const) : meant
  const misplaced = checked.find((name) => headers[name] !== undefined && !known.includes(name))
  const strange = reads ? undefined : neverMeant.find((name) => headers[name] !== undefined)
  const name = misplaced ?? strange
  if (name === undefined) return
  const where = `${method} ${path.replace(/\*$/, 'KEY')}`
  throw invalid(`${name} means nothing in ${where}${advice[name] ?? ''}. Nothing was done`)
}
