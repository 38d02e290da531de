/** The calls that write one key, as transactions of one op: what they say besides the value, and what they
 *  are answered. See rfc/6. */

import type { Committed, CommittedOp, Expiry } from '../transaction/operation.js'

/** What a write says besides its value: most often nothing. */
export function saidOf(
  options: Expiry & { readonly contentType?: string },
): (Expiry & { readonly contentType?: string }) | undefined {
  const { ttl, sliding, contentType } = options
  if (ttl === undefined && sliding === undefined && contentType === undefined) return undefined
  return {
    ...(contentType === undefined ? {} : { contentType }),
    ...(ttl === undefined ? {} : { ttl }),
    ...(sliding === undefined ? {} : { sliding }),
  }
}

export function oneOp({ seq, ref, results, repeated }: Committed): CommittedOp {
  const result = results[0] ?? {}
  return repeated ? { seq, ref, result, repeated } : { seq, ref, result }
}
