/** The times that the targets of a flow took when they were made last. See rfc/26, rule 9. */

import { pageMax, readKeysMax } from '../api/kvs.js'
import { isCode } from '../error.js'
import type { RecordedTimes } from './estimate.js'
import { expectedOf, madeRecords } from './made.js'
import { type FlowPlace, namespaceOfFlow } from './place.js'
import type { RunGraph } from './run-graph.js'

/** The largest number of branches whose times are read. */
const branchesMax = 10_000

/** Reads the times of the targets of a graph, and of the branches that they had. */
export async function recordedTimes(
  place: Pick<FlowPlace, 'store' | 'flow'>,
  graph: RunGraph,
): Promise<RecordedTimes> {
  const branches = new Map<string, readonly string[]>()
  let left = branchesMax
  for (const { name, hasBranches } of graph) {
    if (!hasBranches || left === 0) continue
    const names = await branchNames(place, name, left)
    left -= names.length
    if (names.length > 0) branches.set(name, names)
  }
  const plain = graph.filter(({ hasBranches }) => !hasBranches).map(({ name }) => name)
  const names = [...plain, ...[...branches.values()].flat()]
  const ms = new Map<string, number>()
  for (let at = 0; at < names.length; at += readKeysMax) {
    const page = names.slice(at, at + readKeysMax)
    const records = await madeRecords(place, page)
    for (const [index, name] of page.entries()) {
      const record = records[index]
      if (record) ms.set(name, expectedOf(record))
    }
  }
  return { ms, branches }
}

/** Returns the names of the branches of a target that were made in this flow. */
async function branchNames(
  { store, flow }: Pick<FlowPlace, 'store' | 'flow'>,
  target: string,
  limit: number,
): Promise<readonly string[]> {
  const start = encodeURIComponent(`${target}[`)
  const scope = { namespace: namespaceOfFlow(flow), after: start, limit: Math.min(limit, pageMax) }
  const page = await store.list('targets', scope).catch((error: unknown) => {
    if (isCode(error, 'ENOENT') || isCode(error, 'ENONS')) return undefined
    throw error
  })
  return (page?.entries ?? [])
    .filter(({ name }) => name.startsWith(start))
    .map(({ name }) => decodeURIComponent(name))
}
