/** Flows: targets, which are made of other targets, and runs that make them as soon as their inputs are
 *  there. See rfc/24. */

import { availableParallelism } from 'node:os'
import type { ActionDifference } from '../api/cache.js'
import type {
  FailureMode,
  FlowEvent,
  FlowRun,
  FlowRunOptions,
  RunOrigin,
  RunResults,
  Target,
  WantedTargets,
} from '../api/flow.js'
import {
  type CallAgain,
  type FlowLookOptions,
  type FlowPlan,
  type FlowPlanOptions,
  type OutdatedTarget,
  predictMax,
  type ReopenedCall,
  type ReopenOptions,
} from '../api/flow-look.js'
import { LoopSlice } from '../base/loop-slice.js'
import {
  checkOptions,
  checkValue,
  count,
  defined,
  flag,
  invalid,
  list,
  object,
  type Rule,
  shapeOf,
  signal,
  text,
  texts,
  within,
} from '../base/shape.js'
import { CallPool } from './caller.js'
import { drive, type RunBounds } from './drive.js'
import { RunEvents } from './events.js'
import { Graph } from './graph.js'
import { InProcess } from './in-process.js'
import { checkRunId, newRunId, placeOf } from './place.js'
import { follow, type Plan } from './plan.js'
import type { Rerun } from './rerun.js'
import { runsOf } from './runs.js'
import type { LabelPlaces } from './schedule.js'
import { failureModes, planWanted, retriesRule, TargetRecord, wholeNumbers } from './target.js'

export { targetOutput, targetSignal } from './calls.js'
export { command } from './command.js'
export { commands, element } from './commands.js'
export { graphOf } from './draw.js'
export { runsOf } from './runs.js'
export { cross, directory, file, map, packed, target } from './target.js'

const atLeastOne: Rule = {
  is: (value) => count.is(value) && value !== 0,
  expected: 'a whole number, 1 or more',
}
const origin = within(
  shapeOf<RunOrigin>({ file: text, directory: text, targets: texts, options: object }, [
    ...(['file', 'directory', 'targets', 'options'] as const),
  ]),
)
const pool: Rule = {
  is: (value) => value instanceof CallPool,
  expected: 'what openWorkers() of the same copy of tailrace gave',
}
const places = { store: object, layer: text, flow: text }
const all = shapeOf<FlowRunOptions>({
  ...{ concurrency: atLeastOne, limits: wholeNumbers, onError: failureModes, signal },
  ...{ rerun: list, rerunDependents: flag, audit: flag },
  ...{ ...places, values: object, retries: retriesRule, origin, resumes: text, workers: pool },
})
const looks = shapeOf<FlowLookOptions>({ ...places, signal }, ['store'])
const reopens = shapeOf<ReopenOptions>({ ...places, directory: text, made: flag }, [
  ...(['store', 'directory'] as const),
])
const workersPredicted: Rule = {
  is: (value) => atLeastOne.is(value) && (value as number) <= predictMax,
  expected: `a whole number, 1 to ${predictMax}`,
}
const plans = shapeOf<FlowPlanOptions>(
  { ...places, signal, concurrency: atLeastOne, limits: wholeNumbers, predict: workersPredicted },
  ['store'],
)

/** Makes targets, and what they depend on, in this process or by `workers`. `wanted` is a target, or an array or an
 *  object of such; `result` has the same form. With `store` results are kept there, and what is there
 *  is not made again. The run begins in a later turn of the event loop. Throws EINVAL. `result`
 *  rejects with what the first target that failed threw; see `FlowRun`.
 *
 *      const { result } = run({ lines, sizes }, { store })
 *      console.log(await result) // { lines: 120, sizes: [17, 4] }
 */
export function run<const W extends WantedTargets, M extends FailureMode = 'stop'>(
  wanted: W,
  options: FlowRunOptions<M> = {},
): FlowRun<RunResults<W, M>> {
  checkOptions(options, all)
  const { plan, sources } = planWanted(wanted)
  const events = new RunEvents()
  const { limits = {}, retries = 0 } = options
  const onError: FailureMode = options.onError ?? 'stop'
  const workers = options.workers instanceof CallPool ? options.workers : undefined
  const here = options.concurrency ?? availableParallelism()
  const bounds = {
    ...{ limits, retries, onError, signal: options.signal, audit: options.audit === true },
    labels: workers ?? withoutLabels,
    ...(workers && { onPlaces: (run: () => void) => workers.onPlaces(run) }),
    get concurrency() {
      return workers ? Math.min(workers.places, options.concurrency ?? workers.places) : here
    },
  }
  if (workers && options.audit === true) {
    throw invalid('options.audit is for commands in this process: leave options.workers out')
  }
  const parts = { targets: sources, plan, events, bounds, workers }
  if (options.store) {
    const id = newRunId()
    const place = placeOf(options.store, options)
    const { values, origin, resumes } = options
    if (resumes !== undefined) checkRunId(resumes)
    const begun = defined({ origin, resumes })
    const rerun = rerunOf(options)
    const whole = { ...parts, place, id, values, begun, rerun }
    const result = kept().then(({ keptResults }) => keptResults(whole))
    return new Run(id, result as Promise<RunResults<W, M>>, events)
  }
  for (const name of ['layer', 'flow', 'values', 'origin', 'resumes', 'rerun'] as const) {
    if (options[name] !== undefined) throw invalid(`options.${name} means nothing without a store`)
  }
  return new Run(undefined, results(parts) as Promise<RunResults<W, M>>, events)
}

/** Tells which targets `run` would make of these and of what they depend on, each after those that it
 *  depends on. Makes none, and writes nothing. Throws EINVAL, E2BIG, ECANCELED, and what the store
 *  throws. */
export async function outdated(
  wanted: WantedTargets,
  options: FlowLookOptions,
): Promise<readonly OutdatedTarget[]> {
  checkOptions(options, looks)
  const { sources } = planWanted(wanted)
  const place = placeOf(options.store, options)
  const { findOutdated } = await kept()
  return findOutdated(sources, place, options.signal)
}

/** Tells what `run` would do of these targets, in which order, and how long that takes, by the times that
 *  targets took when they were made last. Makes nothing, and writes nothing. Throws EINVAL, E2BIG,
 *  ECANCELED, and what the store throws.
 *
 *      const { makespanMs, path } = await plan(report, { store, concurrency: 4 })
 */
export async function plan(wanted: WantedTargets, options: FlowPlanOptions): Promise<FlowPlan> {
  checkOptions(options, plans)
  const { sources } = planWanted(wanted)
  const place = placeOf(options.store, options)
  const { concurrency = availableParallelism(), limits = {}, predict, signal } = options
  const [{ look }, { findPlan }] = await Promise.all([kept(), import('./forecast.js')])
  const looked = await look(sources, place, signal)
  return findPlan(looked, place, { concurrency, limits, predict })
}

/** Tells in which parts a target differs from what it was made of last in this flow: files, packages,
 *  inputs. An empty list if in none. Throws EINVAL, ENOENT (it was never made in this flow), ECONFLICT
 *  (something that it depends on would be made, so that nobody knows its inputs: ask `why` of that),
 *  and what the store throws. */
export async function why(
  target: Target<unknown>,
  options: FlowLookOptions,
): Promise<readonly ActionDifference[]> {
  checkOptions(options, looks)
  const { sources } = planWanted(target)
  const [only] = sources
  if (!only || sources.length > 1) throw invalid('why() is asked of one target')
  const place = placeOf(options.store, options)
  const { findDifferences } = await kept()
  return findDifferences(only, place, options.signal)
}

/** The places of this process for targets with labels. */
const withoutLabels: LabelPlaces = { isKnown: () => false, placesOf: () => 0 }

/** Writes what the last call of a target was given into a directory: of the last one that failed, or, with
 *  `made` or if none did, that made the result. `target` is its name, or that of a branch. None of its
 *  code is needed, only the store. Throws EINVAL, ENOENT (it was never called in this flow), EEXIST (the
 *  directory is not empty), and what the store throws.
 *
 *      const { error, differences } = await reopen('sizes[4]', { store, directory: 'failed' })
 */
export async function reopen(target: string, options: ReopenOptions): Promise<ReopenedCall> {
  checkOptions(options, reopens)
  checkValue('the name of a target', target, text)
  const { reopenCall } = await import('./reopen.js')
  const { store, flow } = options
  return reopenCall(target, { ...options, runs: runsOf({ store, ...defined({ flow }) }) })
}

/** Finds the target of a call that `reopen` has written into a directory, among targets and those that they
 *  depend on, so that it can be called again, without a store. Throws EINVAL, ENOENT (no call stands
 *  there, or there is no such target).
 *
 *      const again = await callAgain('failed', [report])
 *      await again.call() // throws the same error again
 */
export async function callAgain(directory: string, wanted: WantedTargets): Promise<CallAgain> {
  checkValue('the directory', directory, text)
  const { sources } = planWanted(wanted)
  const { callOf } = await import('./call-again.js')
  return callOf(directory, sources)
}

/** Returns what `rerun` and `rerunDependents` say. Throws EINVAL. */
function rerunOf({ rerun = [], rerunDependents = false }: FlowRunOptions): Rerun {
  const names = rerun.map((item: unknown, at) => {
    if (typeof item === 'string') return item
    if (item instanceof TargetRecord) return item.name
    throw invalid(`options.rerun[${at}] must be a target, or the name of one`)
  })
  return { names, withDependents: rerunDependents }
}

/** Loads what only runs with a store need: it takes some time, and has a parser. */
function kept() {
  return import('./kept-run.js')
}

/** Runs without a store, and returns the results in the form that was wanted. */
async function results({
  targets,
  plan,
  events,
  bounds,
  workers,
}: {
  readonly targets: readonly TargetRecord[]
  readonly plan: Plan
  readonly events: RunEvents
  readonly bounds: RunBounds
  readonly workers: CallPool | undefined
}): Promise<unknown> {
  const slice = new LoopSlice()
  try {
    await slice.turn()
    const graph = await Graph.of(targets, slice)
    if (workers) {
      await workers.opened
      const { PackedMaker } = await import('./packed-maker.js')
      const maker = new PackedMaker(workers)
      const parts = { graph, maker, events, slice, options: bounds }
      return await drive(parts, async (made) => follow(plan, await maker.opened(made)))
    }
    const parts = { graph, maker: new InProcess(), events, slice, options: bounds }
    return await drive(parts, (made) => follow(plan, made))
  } finally {
    events.end()
  }
}

class Run<T> implements FlowRun<T> {
  readonly id: string | undefined
  readonly result: Promise<T>
  readonly #events: RunEvents

  constructor(id: string | undefined, result: Promise<T>, events: RunEvents) {
    this.id = id
    this.result = result
    this.#events = events
  }

  [Symbol.asyncIterator](): AsyncGenerator<FlowEvent, void, undefined> {
    // Who reads the events hears of a failure there.
    this.result.catch(() => {})
    return this.#events.read()
  }
}
