/** Refuses headers that a request carries though it does not look at them: a condition, a key of idempotency. See
 *  rfc/12, rule 5. Pure.
 *  Invariant: a caller who asks for a guard, or for once, gets it or is told; nothing is dropped. */

import type { IncomingHttpHeaders } from 'node:http'
import { invalid } from '../base/shape.js'
import type { RequestHeader, RequestSpec } from '../wire/request.js'

/** Headers that say how a write is meant. */
const meant: readonly RequestHeader[] = [
  'if-match',
  'if-none-match',
  'tailrace-guards',
  'idempotency-key',
  'producer-id',
  'producer-epoch',
  'producer-seq',
]
/** Those that no request looks at: no time is kept with a value, and a method is what the request line says. */
const neverMeant = [
  'if-unmodified-since',
  'if-modified-since',
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
] as const

/** Where else it goes. */
const advice: Readonly<Record<string, string>> = {
  'tailrace-guards': ': it goes with a write whose body is the value',
  'producer-id': ': it numbers the appends of POST /v1/kv; elsewhere Idempotency-Key says it once',
}

/** Throws EINVAL. A read may carry what a browser sends with each. */
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
