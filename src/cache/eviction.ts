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
import { isCode } from '../error.js'
import { logOps, namespaceOf, readBounds, unless } from './layer.js'
import { resultKey, resultsKey, usesKey } from './record.js'
import { endOfHour, hoursKey, unuseOps, useKey, usesOf } from './usage.js'

/** The number of entries of the index that one step looks at. Each has at most two guards. */
const stepMax = 256
/** The number of entries that may be refused in one eviction. */
const refusalsMax = 16

/** The results and bytes that a layer has above its bounds. */
type Excess = { readonly results: number; readonly size: number }

/** An entry of the index that goes: the ops that remove it with what it stands for, and the guards
 *  that this is what was judged. */
type Going = {
  readonly isResult: boolean
  readonly guards: readonly Guard[]
  readonly ops: readonly Op[]
}

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
  let refusals = 0
  while (!lease.signal.aborted && refusals <= refusalsMax) {
    const hour = await oldestHour(kvs, namespace)
    if (hour === undefined) return evicted
    const isAged = endOfHour(hour) <= Date.now() - (bounds.keepAgeMs ?? Number.POSITIVE_INFINITY)
    const excess = await excessOf(kvs, namespace, bounds)
    if (!isAged && excess.results === 0 && excess.size === 0) return evicted
    const step = await stepOf(kvs, layer, hour, isAged ? undefined : excess)
    const left = await removeAll(kvs, namespace, lease.guard, step)
    evicted += left.filter(({ isResult }) => isResult).length
    refusals += step.length - left.length
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
  const guardOf = async (key: string): Promise<Guard> => {
    const stat = await kvs.stat(key, root)
    return stat ? { key, ref: stat.ref } : { key, absent: true }
  }
  if (entries.length === 0) {
    const ops: Op[] = [{ op: 'unlink', key: directory }]
    return [{ isResult: false, guards: [await guardOf(directory)], ops }]
  }
  const ids = entries.map(({ name }) => name)
  const uses = await usesOf(kvs, layer, ids, { at: seq })
  const stale = ids.filter((_, at) => uses[at] !== hour)
  const dropped = stale.map(async (id): Promise<Going> => {
    const ops: Op[] = [{ op: 'unlink', key: `${directory}/${id}` }]
    return { isResult: false, guards: [await guardOf(useKey(id))], ops }
  })
  const live = ids.filter((_, at) => uses[at] === hour)
  const victims = await enough(kvs, root, live, excess)
  // Equal values have equal refs, and all of these were last used in the same hour.
  const [first] = victims
  const used = first && (await kvs.stat(useKey(first.id), root))
  const evicted = victims.map(({ id, ref }): Going => {
    const key = resultKey(id)
    const its: Guard = ref === undefined ? { key, absent: true } : { key, ref }
    return {
      isResult: ref !== undefined,
      guards: [its, ...(used ? [{ key: useKey(id), ref: used.ref }] : [])],
      ops: [{ op: 'unlink', key, recursive: true }, ...unuseOps(id, hour)],
    }
  })
  return [...(await Promise.all(dropped)), ...evicted]
}

/** Returns the first results that are as many and as large as `excess` says, or all, with their
 *  versions; without one where only its last use is left. */
async function enough(
  kvs: Kvs,
  root: { readonly namespace: string; readonly at: number },
  ids: readonly string[],
  excess: Excess | undefined,
): Promise<readonly { readonly id: string; readonly ref: Blobref | undefined }[]> {
  let { results, size } = excess ?? { results: ids.length, size: 0 }
  const asked = size === 0 ? ids.slice(0, results) : ids
  const stats = await Promise.all(asked.map((id) => kvs.stat(resultKey(id), root)))
  const first: { readonly id: string; readonly ref: Blobref | undefined }[] = []
  for (const [at, id] of asked.entries()) {
    if (results <= 0 && size <= 0) break
    const stat = stats[at]
    first.push({ id, ref: stat?.ref })
    results--
    size -= stat?.size ?? 0
  }
  return first
}

/** Removes in one transaction what is still as it was judged. Returns what went: nothing if more than
 *  `refusalsMax` entries have changed. */
async function removeAll(
  kvs: Kvs,
  namespace: string,
  guard: Guard,
  step: readonly Going[],
): Promise<readonly Going[]> {
  let left = step
  for (let refusals = 0; left.length > 0 && refusals <= refusalsMax; refusals++) {
    const count = left.filter(({ isResult }) => isResult).length
    const guards = [guard, ...left.flatMap((each) => each.guards)]
    const event = count > 0 ? logOps('evict', { results: count }) : []
    try {
      await kvs.commit(
        { guards, ops: [...left.flatMap(({ ops }) => ops), ...event] },
        { namespace },
      )
      return left
    } catch (error) {
      const refused = refusedBy(error, left)
      if (!refused) throw error
      left = left.filter((each) => each !== refused)
    }
  }
  return []
}

/** Returns the entry whose guard did not hold; undefined for another error, and for the guard of the
 *  lease, which stands before all. */
function refusedBy(error: unknown, step: readonly Going[]): Going | undefined {
  if (!isCode(error, 'ECONFLICT') || error.failed?.guard === undefined) return undefined
  let behind = 1
  for (const each of step) {
    const first = behind
    behind += each.guards.length
    if (error.failed.guard >= first && error.failed.guard < behind) return each
  }
  return undefined
}
