/** Flows: targets, which are made of other targets, and runs that make them as soon as their inputs are
 *  there. See rfc/24. */

import { availableParallelism } from 'node:os'
import type {
  FlowEvent,
  FlowRun,
  FlowRunOptions,
  WantedResults,
  WantedTargets,
} from '../api/flow.js'
import { LoopSlice } from '../base/loop-slice.js'
import { checkOptions, count, oneOf, type Rule, shapeOf, signal } from '../base/shape.js'
import { drive, type RunParts } from './drive.js'
import { RunEvents } from './events.js'
import { Graph } from './graph.js'
import { InProcess } from './in-process.js'
import { follow, type Plan } from './plan.js'
import { planWanted, type TargetRecord, wholeNumbers } from './target.js'

export { targetSignal } from './calls.js'
export { cross, map, packed, target } from './target.js'

const atLeastOne: Rule = {
  is: (value) => count.is(value) && value !== 0,
  expected: 'a whole number, 1 or more',
}
const all = shapeOf<FlowRunOptions>({
  ...{ concurrency: atLeastOne, limits: wholeNumbers, onError: oneOf('stop', 'continue'), signal },
})

/** Makes targets, and what they depend on, in this process. `wanted` is a target, or an array or an
 *  object of such; `result` has the same form. The run begins in a later turn of the event loop.
 *  Throws EINVAL. `result` rejects with what the first target that failed threw; see `FlowRun`.
 *
 *      const { result } = run({ lines, sizes }, { concurrency: 4 })
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
  return new Run(results(sources, plan, events, bounds) as Promise<WantedResults<W>>, events)
}

/** Runs, and returns the results in the form that was wanted. */
async function results(
  targets: readonly TargetRecord[],
  plan: Plan,
  events: RunEvents,
  options: RunParts<unknown>['options'],
): Promise<unknown> {
  const slice = new LoopSlice()
  try {
    await slice.turn()
    const graph = await Graph.of(targets, slice)
    const maker = new InProcess()
    return follow(plan, await drive({ graph, maker, events, slice, options }))
  } finally {
    events.end()
  }
}

class Run<T> implements FlowRun<T> {
  readonly result: Promise<T>
  readonly #events: RunEvents

  constructor(result: Promise<T>, events: RunEvents) {
    this.result = result
    this.#events = events
  }

  [Symbol.asyncIterator](): AsyncGenerator<FlowEvent, void, undefined> {
    // Who reads the events hears of a failure there.
    this.result.catch(() => {})
    return this.#events.read()
  }
}
