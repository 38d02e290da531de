/** Guards as the headers of a conditional request, where headers can say them. See rfc/12. Pure. */

import type { Guard } from '../kvs/operation.js'
import { sameKey } from './path.js'

/** One guard on the key itself: absent, or its ref. Undefined: these guards need a transaction. */
export function conditionsOf(
  key: string,
  guards: readonly Guard[] | undefined,
): Readonly<Record<string, string>> | undefined {
  const [guard, ...more] = guards ?? []
  if (!guard) return {}
  if (more.length > 0 || !('key' in guard) || !sameKey(guard.key, key)) return undefined
  if ('absent' in guard) return { 'if-none-match': '*' }
  // Anything but a ref is left to the server to refuse, in a body where it cannot be mistaken.
  return 'ref' in guard && /^[\w-]+$/.test(guard.ref) ? { 'if-match': `"${guard.ref}"` } : undefined
}
