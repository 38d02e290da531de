/** Keeps a layer within its bounds: the results that were not used for the longest time go first. See
 *  rfc/22, rules 18 to 20.
 *  Invariant: one process at a time evicts from a layer. A result goes in the version and with the
 *  last use that were judged, or not at all. It is unlinked as by a removal, so that who reads it
 *  reads on. */

import type { LayerBounds } from '../api/cache.js'
import type { Kvs } from '../api/kvs.js'
import type { Leases } from '../api/lease.js'
import type { Guard, Op } from '../api/transaction.js'
import { isCode, unless } from '../error.js'
import { commitJudged, type Judged } from './judged.js'
import { amountsOf, logOps, namespaceOf, readBounds, removalOp } from './layer.js'
import { recordKey, sizeBeside, unlinkOps, usesKey } from './record.js'
import { type ReadRecord, readRecords } from './records.js'
import { endOfHour, hourKey, idsOfEntry } from './use-index.js'

/** The number of results that one step looks at. Each has a guard. */
const stepMax = 256
/** The number of entries that may be left out in one eviction, since they have changed. */
const leftOutMax = 16

/** The results and bytes that a layer has above its bounds. */
type Excess = { readonly results: number; readonly size: number }

/** The results that go in one step, and the entries of the index that mean nothing without them. */
type Step = {
  readonly going: readonly (Judged & { readonly id?: string })[]
  /** Entries of the index by their keys, with the results of theirs that are there. */
  readonly entries: ReadonlyMap<string, readonly string[]>
}

/** Removes what a layer has more than its bounds allow. Returns the number of results that went; 0
 *  also where another process evicts. Throws what `Kvs` throws. */
export async function evict(kvs: Kvs, leases: Leases, layer: string): Promise<number> {
  const bounds = await readBounds(kvs, layer)
  if (Object.keys(bounds).length === 0) return 0
  const namespace = namespaceOf(layer)
  const taken = await leases
    .take(usesKey, { namespace, owner: 'eviction' })
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
    const gone = await commitJudged(kvs, namespace, step.going, {
      guards: [lease.guard],
      more: (left) => opsWith(left, step),
    })
    evicted += gone.filter(({ id }) => id !== undefined).length
    leftOut += step.going.length - gone.length
  }
  return evicted
}

/** Returns the ops that go with results: the event, and the entries that mean nothing then. */
function opsWith(left: Step['going'], { entries }: Step): Op[] {
  const gone = new Set(left.map(({ id }) => id))
  const ended = [...entries].filter(([, ids]) => ids.every((id) => gone.has(id)))
  const results = left.filter(({ id }) => id !== undefined).length
  return [
    ...ended.map(([key]): Op => ({ op: 'unlink', key })),
    ...(results > 0 ? [removalOp(), ...logOps('evict', { results })] : []),
  ]
}

async function oldestHour(kvs: Kvs, namespace: string): Promise<number | undefined> {
  const page = await kvs.list(usesKey, { namespace, limit: 1 }).catch(unless('ENOENT'))
  const [first] = page?.entries ?? []
  return first && Number(first.name)
}

async function excessOf(
  kvs: Kvs,
  namespace: string,
  { keepResults = Number.POSITIVE_INFINITY, keepSize = Number.POSITIVE_INFINITY }: LayerBounds,
): Promise<Excess> {
  const { results, size } = await amountsOf(kvs, { namespace })
  return { results: Math.max(0, results - keepResults), size: Math.max(0, size - keepSize) }
}

/** Returns what goes in the next step in an hour, as it is at one root. `excess`: what must go at
 *  least; undefined if all of the hour goes. */
async function stepOf(
  kvs: Kvs,
  layer: string,
  hour: number,
  excess: Excess | undefined,
): Promise<Step> {
  const namespace = namespaceOf(layer)
  const directory = hourKey(hour)
  const listed = await kvs.list(directory, { namespace, limit: stepMax })
  const root = { namespace, at: listed.seq }
  if (listed.entries.length === 0) {
    const stat = await kvs.stat(directory, root)
    const guard: Guard = stat ? { key: directory, ref: stat.ref } : { key: directory, absent: true }
    return { going: [{ guard, ops: [{ op: 'unlink', key: directory }] }], entries: new Map() }
  }
  const named = await entriesOf(kvs, root, directory, listed.entries)
  const ids = [...new Set([...named.values()].flat())]
  const found = await readRecords(kvs, layer, ids, { at: listed.seq })
  const records = new Map(ids.map((id, at) => [id, found[at]]))
  // A record that cannot be read goes, too: it counts as no result.
  const isLive = (id: string) => {
    const { record, error } = records.get(id) ?? {}
    return error !== undefined || record?.used === hour
  }
  const live = ids.filter(isLive)
  const entries = new Map([...named].map(([key, those]) => [key, those.filter(isLive)]))
  const going = await enough(kvs, root, live, { excess, records })
  return { going, entries }
}

/** Reads the first entries of an hour, of at most `stepMax` results and those of one entry more: their
 *  ids by their keys. */
async function entriesOf(
  kvs: Kvs,
  root: { readonly namespace: string; readonly at: number },
  directory: string,
  listed: readonly { readonly name: string }[],
): Promise<ReadonlyMap<string, readonly string[]>> {
  const keys = listed.map(({ name }) => `${directory}/${name}`)
  const { values } = await kvs.readMany(keys, root)
  const entries = new Map<string, readonly string[]>()
  let count = 0
  for (const [at, { name }] of listed.entries()) {
    if (count >= stepMax) break
    const ids = idsOfEntry(name, values[at] ?? new Uint8Array())
    entries.set(`${directory}/${name}`, ids)
    count += ids.length
  }
  return entries
}

/** Returns the first results that are as many and as large as `excess` says, or all, with their
 *  versions. REQUIRES: they are there at the root. */
async function enough(
  kvs: Kvs,
  root: { readonly namespace: string; readonly at: number },
  ids: readonly string[],
  {
    excess,
    records,
  }: {
    readonly excess: Excess | undefined
    readonly records: ReadonlyMap<string, ReadRecord | undefined>
  },
): Promise<Step['going']> {
  let { results, size } = excess ?? { results: ids.length, size: 0 }
  const asked = size > 0 ? ids : ids.slice(0, Math.max(0, results))
  const stats = await Promise.all(asked.map((id) => kvs.stat(recordKey(id), root)))
  const first: (Judged & { readonly id: string })[] = []
  for (const [at, id] of asked.entries()) {
    const stat = stats[at]
    if (!stat || (results <= 0 && size <= 0)) break
    const record = records.get(id)?.record
    const guard: Guard = { key: recordKey(id), ref: stat.ref }
    first.push({ id, guard, ops: unlinkOps(id, record) })
    results--
    size -= stat.size + (record ? sizeBeside(record) : 0)
  }
  return first
}
