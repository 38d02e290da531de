/** Exponential backoff between two bounds, with jitter, so that the clients of a server that comes
 *  back do not all come at once. See rfc/12, rule 17. Pure. */

import type { Backoff } from '../api/connect.js'

/** The backoff of a client whose options name none. */
export const backoffDefault: Backoff = { minMs: 50, maxMs: 5_000 }

/** Returns the time to wait before the next try, in ms. REQUIRES: `failures` ≥ 1, the failures in a
 *  row; `random` in [0, 1). */
export function delayOf(backoff: Backoff, failures: number, random: number): number {
  const top = Math.min(backoff.maxMs, backoff.minMs * 2 ** Math.min(failures - 1, 30))
  return top * (0.5 + random / 2)
}
