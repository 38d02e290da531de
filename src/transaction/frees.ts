/** Which transactions give more space back than they take, once a collection has come by: they go on where the disk
 *  is full. See rfc/6, rule 50. Pure. */

import type { Prepared, PreparedOp } from './transaction.js'

const freeing: ReadonlySet<PreparedOp['op']> = new Set<PreparedOp['op']>([
  'collection',
  'dateLeases',
  'expireKeys',
  'expireLeases',
  'retain',
  'trim',
  'unlink',
])

/** Whether all that it does is to remove, or to say how long something is kept. */
export function frees({ ops, blobs }: Prepared): boolean {
  return blobs.length === 0 && ops.length > 0 && ops.every(({ op }) => freeing.has(op))
}
