/** The plan of a run, and the prediction for one that has ended. See rfc/26, rules 11 and 12.
 *  Invariant: nothing is made, and nothing is written. A call that was never made counts as the mean of
 *  those that were. */

import type { FlowPlan, WorkersPrediction } from '../api/flow-look.js'
import { LoopSlice } from '../base/loop-slice.js'
import type { RecordedTimes } from './estimate.js'
import type { Graph, Step } from './graph.js'
import type { Survey } from './outdated.js'
import type { FlowPlace } from './place.js'
import { type PredictBounds, type PredictedTarget, Predictor } from './predict.js'
import { recordedTimes } from './recorded-times.js'
import { type RunGraph, runGraphOf } from './run-graph.js'

/** The part by which a run must get shorter for more workers to be of use. */
const useShare = 0.01

/** The bounds of a plan. */
export type PlanBounds = PredictBounds & { readonly predict: number | undefined }

/** A look at which results of a graph are there. */
export type Looked = { readonly graph: Graph; readonly seen: Survey }

/** Returns what a run would do. Throws what `Predictor` and the store throw. */
export async function findPlan(
  { graph, seen }: Looked,
  place: FlowPlace,
  { concurrency, limits, predict }: PlanBounds,
): Promise<FlowPlan> {
  const slice = new LoopSlice()
  const steps = graph.steps.filter(({ of }) => !of)
  const nodes = runGraphOf(steps)
  const times = await recordedTimes(place, nodes)
  const made = new Set(seen.steps)
  const tally = { found: 0, unknown: 0 }
  const mean = meanOf(times.ms)
  const expectedOf = (name: string) => {
    const ms = times.ms.get(name)
    if (ms === undefined) tally.unknown++
    return ms ?? mean
  }
  const branchesOf = new Map<Step, Step[]>()
  for (const step of graph.steps) {
    if (!step.of) continue
    const ofMap = branchesOf.get(step.of) ?? []
    ofMap.push(step)
    branchesOf.set(step.of, ofMap)
  }
  const predicted = nodes.map((node, at): PredictedTarget => {
    const step = steps[at] as Step
    if (!node.hasBranches) {
      if (!made.has(step)) tally.found++
      return { ...node, expected: made.has(step) ? expectedOf(node.name) : undefined }
    }
    // A map whose array would be made counts as many branches as it had last.
    const names = made.has(step)
      ? (times.branches.get(node.name) ?? [`${node.name}[0]`])
      : undefined
    const branches = names
      ? names.map((name) => ({ name, expected: expectedOf(name) }))
      : (branchesOf.get(step) ?? []).map((branch) => {
          if (!made.has(branch)) tally.found++
          const expected = made.has(branch) ? expectedOf(branch.name) : undefined
          return { name: branch.name, expected }
        })
    return { ...node, expected: undefined, branches }
  })
  const predictor = await Predictor.of(predicted, rankedBy(nodes, times), slice)
  const { calls, makespanMs } = await predictor.predict({ concurrency, limits }, slice)
  const predictions = predict && (await predictionsFor(predictor, predict, limits, slice))
  const { path, workMs } = predictor
  return {
    ...{ concurrency, calls, ...tally, makespanMs, workMs, path },
    pathMs: path.reduce((sum, { ms }) => sum + ms, 0),
    ...(predictions && { predictions, ...enoughOf(predictions) }),
  }
}

async function predictionsFor(
  predictor: Predictor,
  most: number,
  limits: PredictBounds['limits'],
  slice: LoopSlice,
): Promise<readonly WorkersPrediction[]> {
  const predictions: WorkersPrediction[] = []
  for (let workers = 1; workers <= most; workers++) {
    const { makespanMs, busyMs } = await predictor.predict({ concurrency: workers, limits }, slice)
    predictions.push({ workers, makespanMs, busyMs })
  }
  return predictions
}

/** Returns the number of workers above which more are of no use; none if that is the last one that was
 *  predicted. */
export function enoughOf(predictions: readonly WorkersPrediction[]): { readonly enough?: number } {
  const best = Math.min(...predictions.map(({ makespanMs }) => makespanMs))
  const enough = predictions.find(({ makespanMs }) => makespanMs <= best * (1 + useShare))
  if (!enough || enough === predictions.at(-1)) return {}
  return { enough: enough.workers }
}

/** Returns what a run expects of targets when it orders them (rfc/24, rules 5 and 20). */
function rankedBy(nodes: RunGraph, { ms }: RecordedTimes): (name: string) => number {
  const known = new Map(
    nodes.flatMap(({ name }) => (ms.has(name) ? [[name, ms.get(name) ?? 0]] : [])),
  )
  const mean = meanOf(known)
  return (name) => known.get(name) ?? mean
}

function meanOf(ms: ReadonlyMap<string, number>): number {
  let sum = 0
  for (const each of ms.values()) sum += each
  return ms.size === 0 ? 1 : sum / ms.size
}
