/** Flows: targets, which are made of other targets, and runs that make them as soon as their inputs are
 *  there. See rfc/24. */

import { availableParallelism } from 'node:os'
import { type ActionDifference, mainLayer } from '../api/cache.js'
import type {
  FlowEvent,
  FlowLookOptions,
  FlowRun,
  FlowRunOptions,
  FlowStore,
  OutdatedTarget,
  Target,
  WantedResults,
  WantedTargets,
} from '../api/flow.js'
import type { Store } from '../api/store.js'
import type { PackedValues } from '../api/value.js'
import { eitherSignal } from '../base/abort.js'
import { LoopSlice } from '../base/loop-slice.js'
import {
  checkOptions,
  count,
  invalid,
  oneOf,
  type Rule,
  shapeOf,
  signal,
  text,
} from '../base/shape.js'
import { openCache } from '../cache/cache.js'
import { TailraceError, toTailraceError } from '../error.js'
import { openValues } from '../value/values.js'
import { RunCodes } from './codes.js'
import { drive, type RunParts } from './drive.js'
import { RunEvents } from './events.js'
import { Graph } from './graph.js'
import { InProcess } from './in-process.js'
import { KeptMaker } from './kept.js'
import { differencesFrom, reasonsOf, survey } from './outdated.js'
import { follow, type Plan } from './plan.js'
import { expectedTimes, madeRecords, namespaceOfFlow, newRunId, RunLog } from './run-log.js'
import { planWanted, type TargetRecord, wholeNumbers } from './target.js'

export { targetSignal } from './calls.js'
export { cross, map, packed, target } from './target.js'

const atLeastOne: Rule = {
  is: (value) => count.is(value) && value !== 0,
  expected: 'a whole number, 1 or more',
}
const anObject: Rule = {
  is: (value) => typeof value === 'object' && value !== null,
  expected: 'an object',
}
const places = { store: anObject, layer: text, flow: text }
const all = shapeOf<FlowRunOptions>({
  ...{ concurrency: atLeastOne, limits: wholeNumbers, onError: oneOf('stop', 'continue'), signal },
  ...{ ...places, values: anObject },
})
const looks = shapeOf<FlowLookOptions>({ ...places, signal }, ['store'])

/** Makes targets, and what they depend on, in this process. `wanted` is a target, or an array or an
 *  object of such; `result` has the same form. With `store` results are kept there, and what is there
 *  is not made again. The run begins in a later turn of the event loop. Throws EINVAL. `result`
 *  rejects with what the first target that failed threw; see `FlowRun`.
 *
 *      const { result } = run({ lines, sizes }, { store })
 *      console.log(await result) // { lines: 120, sizes: [17, 4] }
 */
export function run<const W extends WantedTargets>(
  wanted: W,
  options: FlowRunOptions = {},
): FlowRun<WantedResults<W>> {
  checkOptions(options, all)
  const { plan, sources } = planWanted(wanted)
  const events = new RunEvents()
  const { concurrency = availableParallelism(), limits = {}, onError = 'stop' } = options
  const bounds = { concurrency, limits, onError, signal: options.signal }
  const parts = { targets: sources, plan, events, bounds }
  if (options.store) {
    const id = newRunId()
    const place = placeOf(options.store, options)
    const result = keptResults(parts, { ...place, run: id, values: options.values })
    return new Run(id, result as Promise<WantedResults<W>>, events)
  }
  for (const name of ['layer', 'flow', 'values'] as const) {
    if (options[name] !== undefined) throw invalid(`options.${name} means nothing without a store`)
  }
  return new Run(undefined, results(parts) as Promise<WantedResults<W>>, events)
}

/** Tells which targets `run` would make of these and of what they depend on, each after those that it
 *  depends on. Makes none, and writes nothing. Throws EINVAL, E2BIG, ECANCELED, and what the store
 *  throws. */
export async function outdated(
  wanted: WantedTargets,
  options: FlowLookOptions,
): Promise<readonly OutdatedTarget[]> {
  checkOptions(options, looks)
  const place = placeOf(options.store, options)
  const { seen } = await look(planWanted(wanted).sources, place, options.signal)
  return reasonsOf(place, seen)
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
  const place = placeOf(options.store, options)
  const { sources } = planWanted(target)
  const [only] = sources
  if (!only || sources.length > 1) throw invalid('why() is asked of one target')
  const { name, arrays } = only
  if (arrays.length > 0)
    throw invalid(`${name} is made of branches: ask why of what they go through`)
  const [record] = await madeRecords(place, [name])
  if (!record) {
    const message = `target ${name} was never made in the flow ${place.flow}`
    throw new TailraceError('ENOENT', message)
  }
  const { seen, codes, graph } = await look(sources, place, options.signal)
  const action = graph.wanted[0] && seen.actions.get(graph.wanted[0])
  if (action) return differencesFrom(place, record, action, codes.modules)
  const others = seen.steps.map((step) => step.name).filter((other) => other !== name)
  const message = `${others.slice(0, 10).join(', ')} would be made before ${name}: ask why of these`
  throw new TailraceError('ECONFLICT', message)
}

/** The parts of a run that all have. */
type RunOf = {
  readonly targets: readonly TargetRecord[]
  readonly plan: Plan
  readonly events: RunEvents
  readonly bounds: RunParts<unknown>['options']
}

/** A store, and the names of a flow and of a layer there. */
type Place = Required<FlowStore>

/** Returns the place with its defaults. Throws EINVAL. */
function placeOf(store: Store, { layer = mainLayer, flow = 'main' }: Partial<FlowStore>): Place {
  namespaceOfFlow(flow)
  return { store, layer, flow }
}

/** Runs without a store, and returns the results in the form that was wanted. */
async function results({ targets, plan, events, bounds }: RunOf): Promise<unknown> {
  const slice = new LoopSlice()
  try {
    await slice.turn()
    const graph = await Graph.of(targets, slice)
    const maker = new InProcess()
    return follow(plan, await drive({ graph, maker, events, slice, options: bounds }))
  } finally {
    events.end()
  }
}

/** Runs with a store, and returns the results in the form that was wanted once the log of the run is
 *  written. */
async function keptResults(
  { targets, plan, events, bounds }: RunOf,
  {
    run,
    values,
    ...place
  }: Place & { readonly run: string; readonly values: PackedValues | undefined },
): Promise<unknown> {
  const { store } = place
  const slice = new LoopSlice()
  const codes = new RunCodes()
  const log = new RunLog({ ...place, run, modules: codes.modules })
  const unwritten = new AbortController()
  const either = eitherSignal(bounds.signal, unwritten.signal)
  let writing: Promise<void> | undefined
  try {
    await slice.turn()
    const graph = await Graph.of(targets, slice, await expectedTimes(place, targets))
    await log.begin(targets.map(({ name }) => name))
    writing = log.write(events.read())
    writing.catch((error: unknown) => unwritten.abort(toTailraceError(error)))
    const maker = new KeptMaker({
      ...{ store, codes, cache: openCache(store, { layer: place.layer }) },
      values: values ?? openValues({ spill: { store, namespace: namespaceOfFlow(place.flow) } }),
      made: (step, of) => log.made(step.name, of),
    })
    const options = { ...bounds, signal: either.signal }
    const opened = await maker.opened(await drive({ graph, maker, events, slice, options }))
    events.end()
    await writing
    await log.end()
    return follow(plan, opened)
  } catch (error) {
    events.end()
    // Whoever has the run hears of what failed first.
    await writing?.then(() => log.end({ error })).catch(() => {})
    throw error
  } finally {
    either.end()
  }
}

/** Looks which targets are there. */
async function look(
  targets: readonly TargetRecord[],
  { store, layer }: Place,
  signal: AbortSignal | undefined,
) {
  const slice = new LoopSlice()
  const codes = new RunCodes()
  const graph = await Graph.of(targets, slice)
  const maker = new KeptMaker({
    ...{ store, codes, cache: openCache(store, { layer }), values: openValues() },
    made: () => {},
  })
  return { graph, codes, seen: await survey(graph, maker, slice, signal) }
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
