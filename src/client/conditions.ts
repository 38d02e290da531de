/** Guards, producers and idempotency keys as the headers of a request, where headers can say them. See
 *  rfc/12. Pure. */

import { type Guard, idempotencyKeyRule, type Producer } from '../api/transaction.js'
import { TailraceError } from '../error.js'
import { guardsHeader, toGuardsHeader } from '../wire/guards.js'
import { toHeader } from '../wire/header.js'
import { sameKey } from './path.js'

/** Throws EINVAL. */
export function idempotencyHeaders(key: string): Readonly<Record<string, string>> {
  const value = toHeader(key)
  if (value) return { 'idempotency-key': value }
  throw new TailraceError('EINVAL', idempotencyKeyRule)
}

/** Undefined: this id needs a transaction, or is refused there. */
export function producerHeaders(producer: Producer): Readonly<Record<string, string>> | undefined {
  const { id, epoch, seq } = producer
  const value = toHeader(id)
  if (!value) return undefined
  return { 'producer-id': value, 'producer-epoch': `${epoch}`, 'producer-seq': `${seq}` }
}

/** One guard on the key itself, absent or its ref, as HTTP has it; others as `Tailrace-Guards`. Undefined:
 *  there are so many that they need a transaction. */
export function conditionsOf(
  key: string,
  guards: readonly Guard[] | undefined,
): Readonly<Record<string, string>> | undefined {
  const [guard, ...more] = guards ?? []
  if (!guard) return {}
  const own = more.length === 0 && 'key' in guard && sameKey(guard.key, key)
  if (own && 'absent' in guard) return { 'if-none-match': '*' }
  // Anything but a ref is left to the server to refuse, where it cannot be mistaken.
  if (own && 'ref' in guard && /^[\w-]+$/.test(guard.ref)) return { 'if-match': `"${guard.ref}"` }
  const value = toGuardsHeader([guard, ...more])
  return value === undefined ? undefined : { [guardsHeader]: value }
}
