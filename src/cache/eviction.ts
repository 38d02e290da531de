/** Keeps a layer within its bounds: the results that were not used for the longest time go first. See
 *  rfc/22, rules 18 to 20.
 *  Invariant: one process at a time evicts from a layer. A result that goes is unlinked as by a
 *  removal, so that who reads it reads on. */

import type { LayerBounds } from '../api/cache.js'
import type { Kvs } from '../api/kvs.js'
import type { Leases } from '../api/lease.js'
import type { Op } from '../api/transaction.js'
import { isCode } from '../error.js'
import { logOps, namespaceOf, readBounds, unless } from './layer.js'
import { resultKey, resultsKey, usesKey } from './record.js'
import { endOfHour, hoursKey, unuseOps, usesOf } from './usage.js'

/** The number of entries of the index that one step looks at. */
const stepMax = 256

/** The results and bytes that a layer has above its bounds. */
type Excess = { readonly results: number; readonly size: number }

/** Removes what a layer has more than its bounds allow. Returns the number of results that went; 0
 *  also where another process evicts. Throws what `Kvs` throws. */
export async function evict(kvs: Kvs, leases: Leases, layer: string): Promise<number> {
  const bounds = await readBounds(kvs, layer)
  if (Object.keys(bounds).length === 0) return 0
  const namespace = namespaceOf(layer)
  const taken = await leases
    .take(hoursKey, { namespace, owner: 'eviction' })
    .catch((error: unknown) => {
      if (!isCode(error, 'ECONFLICT')) throw error
      return undefined
    })
  if (!taken) return 0
  await using lease = taken
  let evicted = 0
  while (!lease.signal.aborted) {
    const hour = await oldestHour(kvs, namespace)
    if (hour === undefined) return evicted
    const isAged = endOfHour(hour) <= Date.now() - (bounds.keepAgeMs ?? Number.POSITIVE_INFINITY)
    const excess = await excessOf(kvs, namespace, bounds)
    if (!isAged && excess.results === 0 && excess.size === 0) return evicted
    const step = await stepOf(kvs, layer, hour, isAged ? undefined : excess)
    if (step.ops.length === 0) return evicted
    await kvs.commit({ guards: [lease.guard], ops: step.ops }, { namespace })
    evicted += step.count
  }
  return evicted
}

async function oldestHour(kvs: Kvs, namespace: string): Promise<string | undefined> {
  const page = await kvs.list(hoursKey, { namespace, limit: 1 }).catch(unless('ENOENT'))
  return page?.entries[0]?.name
}

async function excessOf(
  kvs: Kvs,
  namespace: string,
  { keepResults = Number.POSITIVE_INFINITY, keepSize = Number.POSITIVE_INFINITY }: LayerBounds,
): Promise<Excess> {
  const [uses, results] = await Promise.all(
    [usesKey, resultsKey].map((key) => kvs.stat(key, { namespace })),
  )
  return {
    results: Math.max(0, (uses?.count ?? 0) - keepResults),
    size: Math.max(0, (results?.size ?? 0) - keepSize),
  }
}

/** Returns the ops of the next step in an hour, and how many results go by them. `excess`: what must
 *  go at least; undefined if all of the hour goes. */
async function stepOf(
  kvs: Kvs,
  layer: string,
  hour: string,
  excess: Excess | undefined,
): Promise<{ readonly ops: readonly Op[]; readonly count: number }> {
  const namespace = namespaceOf(layer)
  const directory = `${hoursKey}/${hour}`
  const { entries } = await kvs.list(directory, { namespace, limit: stepMax })
  if (entries.length === 0) return { ops: [{ op: 'unlink', key: directory }], count: 0 }
  const ids = entries.map(({ name }) => name)
  const uses = await usesOf(kvs, layer, ids)
  const stale = ids.filter((_, at) => uses[at] !== hour)
  const live = ids.filter((_, at) => uses[at] === hour)
  const victims = excess ? await enough(kvs, namespace, live, excess) : live
  const ops: Op[] = [
    ...stale.map((id): Op => ({ op: 'unlink', key: `${directory}/${id}` })),
    ...victims.flatMap((id): Op[] => [
      { op: 'unlink', key: resultKey(id), recursive: true },
      ...unuseOps(id, hour),
    ]),
    ...(victims.length > 0 ? logOps('evict', { results: victims.length }) : []),
  ]
  return { ops, count: victims.length }
}

/** Returns the first ids whose results are as many and as large as `excess` says, or all. */
async function enough(
  kvs: Kvs,
  namespace: string,
  ids: readonly string[],
  excess: Excess,
): Promise<readonly string[]> {
  if (excess.size === 0) return ids.slice(0, excess.results)
  const stats = await Promise.all(ids.map((id) => kvs.stat(resultKey(id), { namespace })))
  let { results, size } = excess
  const first: string[] = []
  for (const [at, id] of ids.entries()) {
    if (results <= 0 && size <= 0) break
    first.push(id)
    results--
    size -= stats[at]?.size ?? 0
  }
  return first
}
