/** Encodes guards, producers and idempotency keys as headers of a request, if headers can hold
 *  them. See rfc/12, rules 18 and 20. Pure. */

import { type Guard, idempotencyKeyRule, type Producer } from '../api/transaction.js'
import { TailraceError } from '../error.js'
import { guardsHeader, toGuardsHeader, toHeader } from '../wire/headers.js'
import { sameKey } from './path.js'

/** Encodes an idempotency key, and the seq since which its write may have been done. Throws EINVAL if
 *  the key is empty, or a header cannot hold it. */
export function idempotencyHeaders(key: string, since?: number): Readonly<Record<string, string>> {
  const value = toHeader(key)
  const more = since === undefined ? {} : { 'idempotency-since': `${since}` }
  if (value) return { 'idempotency-key': value, ...more }
  throw new TailraceError('EINVAL', idempotencyKeyRule)
}

/** Encodes a producer. Returns undefined if a header cannot hold its id: the write is then sent as
 *  a transaction, and the server judges the id. */
export function producerHeaders(producer: Producer): Readonly<Record<string, string>> | undefined {
  const { id, epoch, seq } = producer
  const value = toHeader(id)
  if (!value) return undefined
  return { 'producer-id': value, 'producer-epoch': `${epoch}`, 'producer-seq': `${seq}` }
}

/** Encodes guards. A single guard on the key itself becomes `If-None-Match` (absent) or `If-Match`
 *  (ref); all others become `Tailrace-Guards`. Returns undefined if they are too large for a
 *  header: the write is then sent as a transaction. */
export function conditionsOf(
  key: string,
  guards: readonly Guard[] | undefined,
): Readonly<Record<string, string>> | undefined {
  const [guard, ...more] = guards ?? []
  if (!guard) return {}
  const own = more.length === 0 && 'key' in guard && sameKey(guard.key, key)
  if (own && 'absent' in guard) return { 'if-none-match': '*' }
  // Text that cannot be a ref goes into `Tailrace-Guards`, where the server refuses it. In
  // `If-Match` it could be read as several tags.
  if (own && 'ref' in guard && /^[\w-]+$/.test(guard.ref)) return { 'if-match': `"${guard.ref}"` }
  const value = toGuardsHeader([guard, ...more])
  return value === undefined ? undefined : { [guardsHeader]: value }
}
