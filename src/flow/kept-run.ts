/** Runs with a store, and looks at what a run would do. It is loaded when the first of them begins. See
 *  rfc/24, rules 15 to 22.
 *  Invariant: a run ends when its log is written. A log that cannot be written ends the run. */

import type { ActionDifference } from '../api/cache.js'
import type { EventContext } from '../api/event.js'
import type { OutdatedTarget } from '../api/flow-look.js'
import type { Op } from '../api/transaction.js'
import type { PackedValues } from '../api/value.js'
import { eitherSignal, joinAbort } from '../base/abort.js'
import { LoopSlice } from '../base/loop-slice.js'
import { defined, invalid } from '../base/shape.js'
import { pause, waitMsMax } from '../base/timer.js'
import { openCache } from '../cache/cache.js'
import { TailraceError, toTailraceError } from '../error.js'
import { openValues } from '../value/values.js'
import type { CallPool } from './caller.js'
import { RunCodes } from './codes.js'
import { drive, type RunBounds } from './drive.js'
import type { RunEvents } from './events.js'
import { FailedParts } from './failed-parts.js'
import { InputHashes } from './file-input.js'
import { Graph } from './graph.js'
import { KeptMaker } from './kept.js'
import { madeRecords } from './made.js'
import { differencesFrom, reasonsOf, survey } from './outdated.js'
import { PackedResults } from './packed-results.js'
import { type FlowPlace, namespaceOfFlow } from './place.js'
import { follow, type Plan } from './plan.js'
import { PooledCaller } from './pooled-caller.js'
import { type Rerun, rerunIn } from './rerun.js'
import { packGraph } from './run-graph.js'
import { RunLife } from './run-life.js'
import { expectedTimes, RunLog } from './run-log.js'
import { RunOutput } from './run-output.js'
import { isSettled, SettledRun } from './settled.js'
import type { TargetRecord } from './target.js'

/** All that a run with a store consists of. */
export type KeptRun = {
  readonly targets: readonly TargetRecord[]
  readonly plan: Plan
  readonly events: RunEvents
  readonly bounds: RunBounds
  readonly place: FlowPlace
  readonly id: string
  /** Default: functions are called in this process. */
  readonly workers: CallPool | undefined
  /** Default: values of the run's own. */
  readonly values: PackedValues | undefined
  /** The part of the log's first event that tells how the run was begun. */
  readonly begun: EventContext
  readonly rerun: Rerun
}

/** Runs, and returns the results in the form that was wanted. */
export async function keptResults(run: KeptRun): Promise<unknown> {
  const { targets, plan, events, bounds, place, id, workers } = run
  const { store, layer, flow } = place
  const slice = new LoopSlice()
  const codes = new RunCodes()
  const output = new RunOutput({ store, flow, run: id })
  const log = new RunLog({
    ...{ store, flow, run: id, modules: codes.modules },
    ended: (target) => output.end(target),
  })
  const unwritten = new AbortController()
  const ended = new AbortController()
  // A run that waits for the claim of a dead process has nothing else that keeps this one alive.
  pause(waitMsMax, ended.signal).catch(() => {})
  const life = new RunLife({ store, flow, run: id })
  const either = eitherSignal(bounds.signal, unwritten.signal, life.canceled)
  const finish = (ops: readonly Op[]) => life.finish(ops)
  let writing: Promise<void> | undefined
  try {
    await log.open()
    const living = life.begin()
    // A layer that cannot be read is told by the first look.
    const beginning = SettledRun.begin(place).catch(() => undefined)
    const graph = await Graph.of(targets, slice, await expectedTimes(place, targets))
    await living
    const settled = await beginning
    codes.expect(functionsOf(graph))
    // Without the branches, which the run adds.
    const steps = [...graph.steps]
    const again = rerunIn(graph, run.rerun)
    await workers?.opened
    const { limits, onError } = bounds
    // Of workers none may have joined yet.
    const concurrency = Math.max(1, bounds.concurrency)
    const more = { ...run.begun, concurrency, limits, onError, layer }
    await log.begin(
      targets.map(({ name }) => name),
      more,
      packGraph(graph.steps),
    )
    writing = log.write(events.read())
    writing.catch((error: unknown) => unwritten.abort(toTailraceError(error)))
    const values = run.values ?? openValues({ spill: { store, namespace: namespaceOfFlow(flow) } })
    const options = {
      ...{ limits: bounds.limits, onError: bounds.onError, signal: either.signal },
      ...defined({
        audit: bounds.audit,
        retries: bounds.retries,
        labels: bounds.labels,
        onPlaces: bounds.onPlaces,
      }),
      get concurrency() {
        return bounds.concurrency
      },
    }
    const failedParts = new FailedParts(place)
    const maker = new KeptMaker({
      ...{ store, codes, values, cache: openCache(store, { layer }), bounds: options },
      ...(workers && {
        caller: new PooledCaller(workers, codes, new PackedResults(values), store),
      }),
      made: (step, of) => log.made(step.name, of),
      print: (step, stream, bytes) => output.print(step.name, stream, bytes),
      failed: (step, of, inputs) => {
        log.failed(step.name, of)
        return failedParts.keep(step, inputs)
      },
      again,
    })
    const whole = { graph, maker, events, slice, options }
    const opened = await drive(whole, (made) => maker.opened(made))
    events.end()
    await writing
    const isWhole = log.isWhole && !maker.files.haveChanged
    const parts = { codes, fileHash: (path: string) => maker.files.of(path) }
    const settling = isWhole ? settled?.ops(graph.wanted, steps, parts, slice) : undefined
    // A run does not fail because nobody can note that its graph is settled.
    const [ops = []] = await Promise.all([settling?.catch(() => undefined), output.close()])
    await log.end((last) => finish([...ops, ...last]))
    return follow(plan, opened)
  } catch (error) {
    events.end()
    // Whoever has the run hears of what failed first.
    await writing
      ?.then(() => output.close())
      .then(() => log.end(finish, { error }))
      .catch(() => {})
    throw error
  } finally {
    await life[Symbol.asyncDispose]()
    either.end()
    ended.abort()
  }
}

/** Returns the targets that a run would make, each with the reason. */
export async function findOutdated(
  targets: readonly TargetRecord[],
  place: FlowPlace,
  signal: AbortSignal | undefined,
): Promise<readonly OutdatedTarget[]> {
  const opened = await openGraph(targets)
  const { graph, codes, slice } = opened
  const files = new InputHashes()
  const parts = { codes, fileHash: (path: string) => files.of(path) }
  if (await joinAbort(isSettled(place, graph, parts, slice), signal)) return []
  const { seen } = await lookAt(opened, place, signal)
  return reasonsOf(place, seen)
}

/** Returns the parts in which a target differs from what it was made of last. Throws EINVAL, ENOENT,
 *  ECONFLICT as `why` does. */
export async function findDifferences(
  target: TargetRecord,
  place: FlowPlace,
  signal: AbortSignal | undefined,
): Promise<readonly ActionDifference[]> {
  const { name, arrays } = target
  if (arrays.length > 0)
    throw invalid(`${name} is made of branches: ask why of what they go through`)
  const [record] = await madeRecords(place, [name])
  if (!record) {
    const message = `target ${name} was never made in the flow ${place.flow}`
    throw new TailraceError('ENOENT', message)
  }
  const { seen, codes, graph, cache } = await look([target], place, signal)
  const action = graph.wanted[0] && seen.actions.get(graph.wanted[0])
  if (action) return differencesFrom(place, cache, record, action, codes.modules)
  const others = seen.steps.map((step) => step.name).filter((other) => other !== name)
  const message = `${others.slice(0, 10).join(', ')} would be made before ${name}: ask why of these`
  throw new TailraceError('ECONFLICT', message)
}

/** Looks which targets are there. */
export async function look(
  targets: readonly TargetRecord[],
  place: FlowPlace,
  signal: AbortSignal | undefined,
) {
  return lookAt(await openGraph(targets), place, signal)
}

/** Returns the graph of targets, and the codes of its functions. */
async function openGraph(targets: readonly TargetRecord[]) {
  const slice = new LoopSlice()
  const codes = new RunCodes()
  const graph = await Graph.of(targets, slice)
  codes.expect(functionsOf(graph))
  return { graph, codes, slice }
}

/** Looks which targets of a graph are there. */
async function lookAt(
  { graph, codes, slice }: Awaited<ReturnType<typeof openGraph>>,
  { store, layer }: FlowPlace,
  signal: AbortSignal | undefined,
) {
  const cache = openCache(store, { layer })
  const values = openValues()
  const bounds = { concurrency: 1 }
  const maker = new KeptMaker({ store, codes, cache, values, bounds, made: () => {} })
  return { graph, codes, cache, seen: await survey(graph, maker, slice, signal) }
}

function functionsOf({ steps }: Graph) {
  return steps.map(({ target }) => target.fn)
}
