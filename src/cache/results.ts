/** The results of a layer by the ids of their actions. See rfc/22, rule 17. */

import {
  type Hit,
  type ListResultsOptions,
  type LookOptions,
  type ResultPage,
  type ResultView,
  resultsPageMax,
} from '../api/cache.js'
import type { Kvs } from '../api/kvs.js'
import { invalid } from '../base/shape.js'
import { StoredHit } from './hit.js'
import { resultIds } from './layer.js'
import type { ResultLooks } from './looks.js'
import { isDamaged, readRecords } from './records.js'

const idSize = 64

/** Lists the own results of a layer. */
export async function listResults(
  kvs: Kvs,
  layer: string,
  { limit = resultsPageMax, ...where }: ListResultsOptions,
): Promise<ResultPage> {
  if (limit < 1 || limit > resultsPageMax) {
    throw invalid(`options.limit must be 1 to ${resultsPageMax}`)
  }
  // One more than asked tells if there are more.
  const { value: ids = [] } = await resultIds(kvs, layer, { ...where, limit: limit + 1 }).next()
  const shown = ids.slice(0, limit)
  const { signal } = where
  const found = await readRecords(kvs, layer, shown, signal ? { signal } : {})
  const results = shown.flatMap((id, at): ResultView[] => {
    const one = found[at]
    // Damaged ones count as none, as in each look.
    if (one?.error && !isDamaged(one)) throw one.error
    if (!one?.record) return []
    return [new StoredHit(kvs, { id, layer, seq: one.seq }, one.record).result]
  })
  return { results, more: ids.length > limit }
}

/** Returns the result whose id is, or begins with, `start`, from the first of the layers that has
 *  one; undefined if there is none. Throws EINVAL. */
export async function loadResult(
  ports: { readonly kvs: Kvs; readonly looks: ResultLooks; readonly layers: readonly string[] },
  start: string,
  options: LookOptions,
): Promise<Hit | undefined> {
  const { kvs, looks, layers } = ports
  if (!/^[0-9a-f]+$/.test(start) || start.length > idSize) {
    throw invalid(`the id of a result is ${idSize} hex digits, or a beginning of them`)
  }
  if (start.length === idSize) return (await looks.find(layers, start, options)).hit
  for (const layer of layers) {
    const { value: ids = [] } = await resultIds(kvs, layer, {
      ...{ after: start, limit: 2 },
      ...options,
    }).next()
    const [id, second] = ids.filter((each) => each.startsWith(start))
    if (second !== undefined) throw invalid(`several results of ${layer} begin with ${start}`)
    if (id !== undefined) return (await looks.find([layer], id, options)).hit
  }
  return undefined
}
