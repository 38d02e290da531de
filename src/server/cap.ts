/** How much of a log is kept, as the parameters of a request: `?keep`, `?keepBytes`, `?keepAge`, `?uncap`. See rfc/6,
 *  rule 48. Pure. */

import type { Capping } from '../api/transaction.js'
import { invalid } from '../wire/parse.js'
import { some } from './kv-read.js'
import type { Query } from './query.js'

export const capKinds = {
  keep: 'integer',
  keepBytes: 'integer',
  keepAge: 'integer',
  uncap: 'flag',
} as const

/** The parameters with those of a cap as one. Throws EINVAL. */
export function withCap<Q extends Query<typeof capKinds>>({
  keep,
  keepBytes,
  keepAge,
  uncap,
  ...rest
}: Q): Omit<Q, 'keep' | 'keepBytes' | 'keepAge' | 'uncap'> & Capping {
  const cap = some({ keep, keepBytes, keepAge })
  const isGiven = Object.keys(cap).length > 0
  if (isGiven && uncap) throw invalid('?uncap takes the cap away: beside it there is none')
  if (isGiven) return { ...rest, cap }
  return uncap ? { ...rest, cap: null } : rest
}
