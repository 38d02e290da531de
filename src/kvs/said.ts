/** The calls that write one key, as transactions of one op: what they say besides the value, and what they
 *  are answered. See rfc/6. */

import type { Capping, Committed, CommittedOp, Expiry } from '../api/transaction.js'

/** Options of a write besides its value. */
export type Said = Expiry & Capping & { readonly contentType?: string }

/** What a write says besides its value: most often nothing. */
export function saidOf(options: Said): Said | undefined {
  const { ttl, sliding, cap, contentType } = options
  const isSilent = ttl === undefined && sliding === undefined && cap === undefined
  if (isSilent && contentType === undefined) return undefined
  return {
    ...(contentType === undefined ? {} : { contentType }),
    ...(ttl === undefined ? {} : { ttl }),
    ...(sliding === undefined ? {} : { sliding }),
    ...(cap === undefined ? {} : { cap }),
  }
}

export function oneOp({ seq, ref, results, repeated }: Committed): CommittedOp {
  const result = results[0] ?? {}
  return repeated ? { seq, ref, result, repeated } : { seq, ref, result }
}
