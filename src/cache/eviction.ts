/** Keeps a layer within its bounds: the results that were not used for the longest time go first. See
 *  rfc/22, rules 18 to 20.
 *  Invariant: one process at a time evicts from a layer. A result goes in the version and with the
 *  last use that were judged, or not at all. It is unlinked as by a removal, so that who reads it
 *  reads on. */

import type { LayerBounds } from '../api/cache.js'
import type { Kvs } from '../api/kvs.js'
import type { Leases } from '../api/lease.js'
import type { Guard, Op } from '../api/transaction.js'
import type { Blobref } from '../blob/blobref.js'
import { isCode, unless } from '../error.js'
import { commitJudged, type Judged } from './judged.js'
import { logOps, namespaceOf, readBounds } from './layer.js'
import { hoursKey, resultKey, resultsKey, useKey } from './record.js'
import { endOfHour, indexedOps, usesOf } from './usage.js'

/** The number of entries of the index that one step looks at. Each has a guard. */
const stepMax = 256
/** The number of entries that may be left out in one eviction, since they have changed. */
const leftOutMax = 16

/** The results and bytes that a layer has above its bounds. */
type Excess = { readonly results: number; readonly size: number }

/** An entry of the index that goes, alone or with its result. */
type Going = Judged & { readonly isResult: boolean }

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
  let leftOut = 0
  while (!lease.signal.aborted && leftOut <= leftOutMax) {
    const hour = await oldestHour(kvs, namespace)
    if (hour === undefined) return evicted
    const isAged = endOfHour(hour) <= Date.now() - (bounds.keepAgeMs ?? Number.POSITIVE_INFINITY)
    const excess = await excessOf(kvs, namespace, bounds)
    if (!isAged && excess.results === 0 && excess.size === 0) return evicted
    const step = await stepOf(kvs, layer, hour, isAged ? undefined : excess)
    const gone = await commitJudged(kvs, namespace, step, {
      guards: [lease.guard],
      more: (left) => {
        const results = left.filter(({ isResult }) => isResult).length
        return results > 0 ? logOps('evict', { results }) : []
      },
    })
    evicted += gone.filter(({ isResult }) => isResult).length
    leftOut += step.length - gone.length
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
    [hoursKey, resultsKey].map((key) => kvs.stat(key, { namespace })),
  )
  return {
    results: Math.max(0, (uses?.count ?? 0) - keepResults),
    size: Math.max(0, (results?.size ?? 0) - keepSize),
  }
}

/** Returns what goes in the next step in an hour, as it is at one root. `excess`: what must go at
 *  least; undefined if all of the hour goes. */
async function stepOf(
  kvs: Kvs,
  layer: string,
  hour: string,
  excess: Excess | undefined,
): Promise<readonly Going[]> {
  const namespace = namespaceOf(layer)
  const directory = `${hoursKey}/${hour}`
  const { entries, seq } = await kvs.list(directory, { namespace, limit: stepMax })
  const root = { namespace, at: seq }
  const dropped = async (key: string, judged: string): Promise<Going> => {
    const stat = await kvs.stat(judged, root)
    const guard: Guard = stat ? { key: judged, ref: stat.ref } : { key: judged, absent: true }
    return { isResult: false, guard, ops: [{ op: 'unlink', key }] }
  }
  if (entries.length === 0) return [await dropped(directory, directory)]
  const ids = entries.map(({ name }) => name)
  const { uses } = await usesOf(kvs, layer, ids, { at: seq })
  const stale = ids.filter((_, at) => uses[at] !== hour)
  const drops = stale.map((id) => dropped(`${directory}/${id}`, useKey(id)))
  const live = ids.filter((_, at) => uses[at] === hour)
  // Entries of the index whose results are gone were counted as results, too.
  const above = excess && { ...excess, results: excess.results - stale.length }
  const victims = await enough(kvs, root, live, above)
  const evicted = victims.map(({ id, ref }): Going => {
    const key = resultKey(id)
    const ops: Op[] = [{ op: 'unlink', key, recursive: true }, ...indexedOps(id, hour)]
    return { isResult: true, guard: { key, ref }, ops }
  })
  return [...(await Promise.all(drops)), ...evicted]
}

/** Returns the first results that are as many and as large as `excess` says, or all, with their
 *  versions. REQUIRES: they are there at the root. */
async function enough(
  kvs: Kvs,
  root: { readonly namespace: string; readonly at: number },
  ids: readonly string[],
  excess: Excess | undefined,
): Promise<readonly { readonly id: string; readonly ref: Blobref }[]> {
  let { results, size } = excess ?? { results: ids.length, size: 0 }
  const asked = size > 0 ? ids : ids.slice(0, Math.max(0, results))
  const stats = await Promise.all(asked.map((id) => kvs.stat(resultKey(id), root)))
  const first: { readonly id: string; readonly ref: Blobref }[] = []
  for (const [at, id] of asked.entries()) {
    const stat = stats[at]
    if (!stat || (results <= 0 && size <= 0)) break
    first.push({ id, ref: stat.ref })
    results--
    size -= stat.size
  }
  return first
}
