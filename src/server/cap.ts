/** The cap of a log in the parameters of a request: `?keep`, `?keepBytes`, `?keepAge`, `?uncap`.
 *  See rfc/19, rule 5. Pure. */

import type { Cap, Capping } from '../api/transaction.js'
import { defined, invalid } from '../base/shape.js'

type CapQuery = Cap & { readonly uncap?: boolean }

/** Returns the parameters with one `cap` in place of the four; `null` for `?uncap`. Throws
 *  EINVAL. */
export function withCap<Q extends CapQuery>({
  keep,
  keepBytes,
  keepAge,
  uncap,
  ...rest
}: Q): Omit<Q, 'keep' | 'keepBytes' | 'keepAge' | 'uncap'> & Capping {
  const cap = defined({ keep, keepBytes, keepAge })
  const isGiven = Object.keys(cap).length > 0
  if (isGiven && uncap) throw invalid('?uncap takes the cap away: beside it there is none')
  if (isGiven) return { ...rest, cap }
  return uncap ? { ...rest, cap: null } : rest
}
