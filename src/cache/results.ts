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
import { isCode } from '../error.js'
import { StoredHit } from './hit.js'
import { namespaceOf, resultIds } from './layer.js'
import type { ResultLooks } from './looks.js'
import { damage, parseRecord, recordKey } from './record.js'

const idSize = 64
/** The number of records that are read at once: each has at most one blob, and a read 16 MiB. */
const readTogetherMax = 50

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
  const parts: (readonly string[])[] = []
  for (let at = 0; at < shown.length; at += readTogetherMax) {
    parts.push(shown.slice(at, at + readTogetherMax))
  }
  const read = await Promise.all(parts.map((part) => readResults(kvs, layer, part, where)))
  return { results: read.flat(), more: ids.length > limit }
}

/** Reads results, without those whose records are damaged: they count as none. */
async function readResults(
  kvs: Kvs,
  layer: string,
  ids: readonly string[],
  options: LookOptions,
): Promise<ResultView[]> {
  try {
    return await readAll(kvs, layer, ids, options)
  } catch (error) {
    if (!damage.some((code) => isCode(error, code))) throw error
    if (ids.length === 1) return []
    const each = await Promise.all(ids.map((id) => readResults(kvs, layer, [id], options)))
    return each.flat()
  }
}

async function readAll(
  kvs: Kvs,
  layer: string,
  ids: readonly string[],
  { signal }: LookOptions,
): Promise<ResultView[]> {
  const scope = { namespace: namespaceOf(layer), ...(signal && { signal }) }
  const { seq, values } = await kvs.readMany(ids.map(recordKey), scope)
  return ids.flatMap((id, at) => {
    const bytes = values[at]
    // One that was removed meanwhile is left out.
    return bytes ? [new StoredHit(kvs, { id, layer, seq }, parseRecord(bytes, id)).result] : []
  })
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
