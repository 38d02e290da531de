/** Changes that hold for what was judged, many in one transaction. See rfc/22, rules 18 and 19. */

import type { Kvs } from '../api/kvs.js'
import type { Guard, Op } from '../api/transaction.js'
import { isCode } from '../error.js'

/** The number of changes that may be refused before the rest is left. */
const refusalsMax = 16

/** A change, and the guard that what it changes is as it was judged. */
export type Judged = { readonly guard: Guard; readonly ops: readonly Op[] }

/** Commits changes in one transaction. One whose guard does not hold is left out, and the rest is sent
 *  again, up to `refusalsMax` times. `guards` must hold besides; `more` returns ops that go with those
 *  that are left, or alone. Returns those that were done. Throws what `Kvs.commit` throws, ECONFLICT for `guards`. */
export async function commitJudged<Change extends Judged>(
  kvs: Kvs,
  namespace: string,
  changes: readonly Change[],
  {
    guards = [],
    more = () => [],
  }: {
    readonly guards?: readonly Guard[]
    readonly more?: (left: readonly Change[]) => readonly Op[]
  } = {},
): Promise<readonly Change[]> {
  let left = changes
  for (let refusals = 0; refusals <= refusalsMax; refusals++) {
    const ops = [...left.flatMap((each) => each.ops), ...more(left)]
    if (ops.length === 0) break
    try {
      await kvs.commit(
        { guards: [...guards, ...left.map(({ guard }) => guard)], ops },
        { namespace },
      )
      return left
    } catch (error) {
      const failed = isCode(error, 'ECONFLICT') ? (error.failed?.guard ?? -1) : -1
      if (failed < guards.length) throw error
      left = left.filter((_, at) => at !== failed - guards.length)
    }
  }
  return []
}
