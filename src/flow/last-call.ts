/** The last call of a target, as its flow has it: one that failed, or one that made the result. See
 *  rfc/27, rule 2.
 *  Invariant: nothing is known of a call but its records, and no code is needed to read them. */

import type { FlowRuns, RunFacts } from '../api/flow-look.js'
import { readKeysMax } from '../api/kvs.js'
import { isCode, TailraceError, unless } from '../error.js'
import type { InputAction, TargetAction } from './action.js'
import { type FailedRecord, failedRecord } from './failed.js'
import { type MadeRecord, madeRecords } from './made.js'
import { type FlowPlace, namespaceOfFlow } from './place.js'
import { graphKey, unpackGraph } from './run-graph.js'

/** A target that a call depends on. Without a hash it is a `map` or `cross` whose branches were made
 *  last. */
export type CallSource = { readonly name: string; readonly hash?: string; readonly id?: string }

/** The last call of a target. */
export type LastCall = {
  readonly target: string
  readonly run: string
  /** The failure, unless it made the result. */
  readonly failed?: Pick<FailedRecord, 'error' | 'at' | 'host'>
  /** Undefined for a target whose call had not begun. */
  readonly action?: TargetAction
  readonly sources: readonly CallSource[]
  /** The names of the sources that the elements of a branch come from. */
  readonly arrays: readonly string[]
  /** The record of the last call that made the result. */
  readonly made?: MadeRecord
  /** The facts of its run, if that has a log. */
  readonly facts?: RunFacts
}

/** Returns the last call of a target: that which failed, or with `made` that which made the result.
 *  Throws ENOENT. */
export async function lastCall(
  place: FlowPlace,
  target: string,
  options: { readonly made: boolean; readonly runs: FlowRuns },
): Promise<LastCall> {
  const { runs } = options
  const [[made], failed] = await Promise.all([
    madeRecords(place, [target]),
    options.made ? undefined : failedRecord(place, target),
  ])
  if (failed) {
    const { run, error, at, host, action, inputs = {}, arrays = [] } = failed
    return {
      ...{ target, run, arrays },
      failed: { error, ...(at !== undefined && { at }), ...(host && { host }) },
      ...(action && { action }),
      sources: Object.entries(inputs).map(([name, input]) => ({ name, ...input })),
      ...(made && { made }),
      ...(await factsOf(runs, run)),
    }
  }
  if (!made) {
    const what = options.made ? 'never made' : 'neither made nor did it fail'
    const message = `target ${target} was ${what} in the flow ${place.flow} (a map or cross has calls for its branches: ${target.replace(/\[.*/, '')}[0])`
    throw new TailraceError('ENOENT', message)
  }
  const { run, action } = made
  const known = await factsOf(runs, run)
  const from = await sourcesIn(place, known?.facts?.graph, target, action)
  return { target, run, action, made, ...from, ...known }
}

/** Reads the facts of a run; none if its log is gone. */
async function factsOf(runs: FlowRuns, run: string): Promise<{ readonly facts?: RunFacts }> {
  try {
    return { facts: await runs.show(run) }
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error
    return {}
  }
}

/** Finds the targets that a call depends on by the graph of its run. */
async function sourcesIn(
  place: FlowPlace,
  graph: string | undefined,
  target: string,
  action: TargetAction,
): Promise<Pick<LastCall, 'sources' | 'arrays'>> {
  const scope = { namespace: namespaceOfFlow(place.flow) }
  const bytes = graph && (await place.store.get(graphKey(graph), scope).catch(unless('ENONS')))
  const nodes = (bytes && unpackGraph(bytes)) || []
  const node = nodes.find(({ name }) => name === target.replace(/\[[\d,]+\]$/, ''))
  const below = (node?.sources ?? []).flatMap((index) => nodes[index] ?? [])
  const names = below.map(({ name }) => name)
  const records = names.length <= readKeysMax ? await madeRecords(place, names) : []
  const hashes = new Set(action.inputs.flatMap(resultHashesOf))
  const { elements = [] } = action
  const isArray = (at: number) => elements.length > 0 && at < elements.length
  const sources = below.flatMap(({ name, hasBranches }, at): CallSource[] => {
    const record = records[at]
    if (hasBranches) return [{ name }]
    // A result that was made anew since is another one; that of an array shows by its element.
    if (!record || !(hashes.has(record.hash) || isArray(at))) return []
    return [{ name, hash: record.hash, id: record.id }]
  })
  // A cross of one array with itself has one name for two elements: nobody knows which is whose.
  const arrays = elements.length <= names.length ? names.slice(0, elements.length) : []
  return { sources, arrays }
}

/** Returns the hashes of the results that an input has. */
export function resultHashesOf(input: InputAction): readonly string[] {
  if ('result' in input) return [input.result]
  if ('items' in input) return input.items.flatMap(resultHashesOf)
  if ('fields' in input) return Object.values(input.fields).flatMap(resultHashesOf)
  return []
}
