/** The estimate of how far a run is, and when it ends. See rfc/26, rule 9. Pure.
 *  Invariant: the time that is left is at least that of the longest path of what is left, and at least
 *  the work that is left by the number of calls at the same time. */

import type { BranchedState, RunFold } from './run-fold.js'
import type { RunGraph } from './run-graph.js'

/** The largest number of targets of a path that are told. */
const pathMax = 100

/** The times that targets took last, in ms. */
export type RecordedTimes = {
  /** The time of each, by the names of targets and of branches. */
  readonly ms: ReadonlyMap<string, number>
  /** The branches of each `map` and `cross` that are known: their names. */
  readonly branches: ReadonlyMap<string, readonly string[]>
}

/** An estimate. */
export type Estimate = {
  /** The share of the expected work that is done, 0 to 1. */
  readonly done: number
  /** The time that is left, in ms; undefined where no times are known. */
  readonly leftMs: number | undefined
  /** The longest path of what is left, from its first target on. */
  readonly path: readonly string[]
}

/** The work of a target in ms: of all, and the part that is left; and the least time that it takes. */
type Work = {
  readonly all: number
  readonly left: number
  readonly time: number
  /** True if the target has not ended. */
  readonly isLeft: boolean
}

/** Estimates how far a run is. `now`: ms since 1970. */
export function estimate(
  graph: RunGraph,
  fold: RunFold,
  times: RecordedTimes,
  { concurrency, now }: { readonly concurrency: number; readonly now: number },
): Estimate {
  const mean = meanOf(fold, times)
  const paths = new Float64Array(graph.length)
  const next = new Int32Array(graph.length).fill(-1)
  let [all, left, first] = [0, 0, -1]
  const works = graph.map((node, place) =>
    workOf(node, fold, { place, times, mean: mean ?? 1, concurrency, now }),
  )
  // Behind a target stand those that depend on it, so that their paths are known.
  for (let place = graph.length - 1; place >= 0; place--) {
    const work = works[place]
    if (!work) continue
    all += work.all
    left += work.left
    const path = (paths[place] ?? 0) + work.time
    paths[place] = path
    if (work.isLeft && (first < 0 || path >= (paths[first] ?? 0))) first = place
    for (const source of graph[place]?.sources ?? []) {
      if (path <= (paths[source] ?? 0)) continue
      paths[source] = path
      next[source] = place
    }
  }
  const longest = first < 0 ? 0 : (paths[first] ?? 0)
  return {
    done: all === 0 ? 1 : Math.min(1, 1 - left / all),
    leftMs: mean === undefined && left > 0 ? undefined : Math.max(longest, left / concurrency),
    path: pathFrom(first, next, graph),
  }
}

function pathFrom(first: number, next: Int32Array, graph: RunGraph): readonly string[] {
  const path: string[] = []
  for (let at = first; at >= 0 && path.length < pathMax; at = next[at] ?? -1) {
    path.push(graph[at]?.name ?? '')
  }
  return path
}

/** Returns the mean time of a call that is known; undefined where none is. */
function meanOf(fold: RunFold, { ms }: RecordedTimes): number | undefined {
  const { made } = fold.counts
  if (made > 0) return Math.max(fold.madeMs / made, Number.MIN_VALUE)
  if (ms.size === 0) return undefined
  let sum = 0
  for (const each of ms.values()) sum += each
  return Math.max(sum / ms.size, Number.MIN_VALUE)
}

type WorkPorts = {
  readonly place: number
  readonly times: RecordedTimes
  readonly mean: number
  readonly concurrency: number
  readonly now: number
}

function workOf(
  { name, hasBranches }: RunGraph[number],
  fold: RunFold,
  { place, times, mean, concurrency, now }: WorkPorts,
): Work {
  const state = fold.stateOf(place)
  const isLeft = state === 'waiting' || state === 'running'
  if (hasBranches) {
    const branched = fold.branchesOf(name)
    const { count, each } = branchesOf(name, branched, times, mean)
    const all = count * each
    const left = isLeft ? Math.max(0, count - (branched?.ended ?? 0)) * each : 0
    const time = left === 0 ? 0 : Math.max(Math.min(each, left), left / concurrency)
    return { all, left, time, isLeft }
  }
  const all = times.ms.get(name) ?? mean
  if (!isLeft) return { all, left: 0, time: 0, isLeft }
  const since = fold.sinceOf(name)
  const left = since === undefined ? all : Math.max(0, all - (now - since))
  return { all, left, time: left, isLeft }
}

/** Returns how many branches a `map` or `cross` has, and the mean time of each. */
function branchesOf(
  name: string,
  branched: BranchedState | undefined,
  { ms, branches }: RecordedTimes,
  mean: number,
): { readonly count: number; readonly each: number } {
  const known = branches.get(name) ?? []
  const recorded = known.reduce((sum, branch) => sum + (ms.get(branch) ?? 0), 0)
  const count = branched?.count ?? (known.length || 1)
  if (branched && branched.made > 0) return { count, each: branched.madeMs / branched.made }
  return { count, each: known.length > 0 ? recorded / known.length : mean }
}
