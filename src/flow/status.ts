/** The state of a run, read from its log, its graph and the times of its targets. See rfc/26, rules 7
 *  to 9.
 *  Invariant: the log is read once, and folded as it grows. */

import type { RunFacts, RunStatus } from '../api/flow-look.js'
import { LoopSlice } from '../base/loop-slice.js'
import { unless } from '../error.js'
import { readEvents, Splitter } from '../eventlog/eventlog.js'
import { estimate, type RecordedTimes } from './estimate.js'
import { type FlowPlace, namespaceOfFlow } from './place.js'
import { type PredictedTarget, Predictor } from './predict.js'
import { recordedTimes } from './recorded-times.js'
import { RunFold } from './run-fold.js'
import { graphKey, type RunGraph, unpackGraph } from './run-graph.js'

/** The largest number of targets that run, of one state that is told. */
const runsMax = 1_000
/** The number of calls of a run above which it is not predicted. */
const predictedMax = 10_000

/** Reads the graph of a run; undefined if it is not kept. */
export async function graphOfRun(
  { store, flow }: Pick<FlowPlace, 'store' | 'flow'>,
  { graph }: RunFacts,
): Promise<RunGraph | undefined> {
  if (graph === undefined) return undefined
  const scope = { namespace: namespaceOfFlow(flow) }
  const bytes = await store.get(graphKey(graph), scope).catch(unless('ENONS'))
  return bytes && unpackGraph(bytes)
}

/** Returns the targets of a run that has ended, with what was to be expected of those that it made. */
function predictedOf(
  graph: RunGraph,
  made: ReadonlyMap<string, number | undefined>,
  mean: number,
): readonly PredictedTarget[] {
  const branches = new Map<string, { readonly name: string; readonly expected: number }[]>()
  for (const [name, expected] of made) {
    const end = name.indexOf('[')
    if (end < 0) continue
    const ofMap = branches.get(name.slice(0, end)) ?? []
    ofMap.push({ name, expected: expected ?? mean })
    branches.set(name.slice(0, end), ofMap)
  }
  return graph.map((node) => {
    if (node.hasBranches)
      return { ...node, expected: undefined, branches: branches.get(node.name) ?? [] }
    return { ...node, expected: made.has(node.name) ? (made.get(node.name) ?? mean) : undefined }
  })
}

/** Reads the state of one run. Mutable; owned by its caller. */
export class StatusReader {
  readonly #place: FlowPlace
  readonly #facts: RunFacts
  readonly #graph: RunGraph | undefined
  readonly #times: RecordedTimes
  readonly #fold: RunFold

  private constructor(
    place: FlowPlace,
    facts: RunFacts,
    graph: RunGraph | undefined,
    times: RecordedTimes,
  ) {
    this.#place = place
    this.#facts = facts
    this.#graph = graph
    this.#times = times
    this.#fold = new RunFold(graph)
  }

  static async of(place: FlowPlace, facts: RunFacts): Promise<StatusReader> {
    const graph = await graphOfRun(place, facts)
    const times = await recordedTimes(place, graph ?? [])
    return new StatusReader(place, facts, graph, times)
  }

  /** True once the event `end` was read. */
  get hasEnded(): boolean {
    return this.#fold.hasEnded
  }

  /** Reads the log as it is. */
  async read(): Promise<RunStatus> {
    const { store, flow } = this.#place
    const slice = new LoopSlice()
    const scope = { namespace: namespaceOfFlow(flow) }
    const made = new Map<string, number | undefined>()
    for await (const event of readEvents(store, `runs/${this.#facts.run}`, scope)) {
      if (slice.over) await slice.turn()
      this.#fold.take(event)
      const { target, expected } = event.context ?? {}
      if (event.name !== 'finish' || typeof target !== 'string') continue
      if (made.size < predictedMax)
        made.set(target, typeof expected === 'number' ? expected : undefined)
    }
    const status = this.statusOf(this.#facts)
    const predictedMs = await this.#predict(made, slice)
    return { ...status, ...(predictedMs !== undefined && { predictedMs }), ...this.#targets() }
  }

  /** Predicts the run that has ended by the times that were known before it; undefined where none is. */
  async #predict(
    made: ReadonlyMap<string, number | undefined>,
    slice: LoopSlice,
  ): Promise<number | undefined> {
    const { state, concurrency = 0, limits = {} } = this.#facts
    const known = [...made.values()].filter((ms) => ms !== undefined)
    const isTold = state === 'ok' && this.#graph && known.length > 0 && made.size < predictedMax
    if (!isTold || concurrency === 0) return undefined
    const mean = known.reduce((sum, ms) => sum + ms, 0) / known.length
    const targets = predictedOf(this.#graph ?? [], made, mean)
    const predictor = await Predictor.of(targets, (name) => made.get(name) ?? mean, slice)
    return Math.round((await predictor.predict({ concurrency, limits }, slice)).makespanMs)
  }

  /** Yields the state that the log tells, and again each time that it has grown, until it is sealed. */
  async *follow(signal: AbortSignal): AsyncGenerator<RunStatus, void, undefined> {
    const { store, flow } = this.#place
    const splitter = new Splitter()
    const slice = new LoopSlice()
    const scope = { namespace: namespaceOfFlow(flow), signal }
    let isLive = false
    for await (const event of store.watch(`runs/${this.#facts.run}`, {
      mode: 'append',
      ...scope,
    })) {
      if (event.type === 'live') isLive = true
      if (event.type === 'append') {
        for (const each of splitter.push(event.data)) {
          if (slice.over) await slice.turn()
          this.#fold.take(each)
        }
      }
      if (isLive) yield this.statusOf(this.#facts)
    }
  }

  /** Returns the state that was read. */
  statusOf(facts: RunFacts): RunStatus {
    const fold = this.#fold
    const goesOn = facts.state === 'running' && !fold.hasEnded
    const now = goesOn ? Math.max(Date.now(), fold.last) : fold.last
    const concurrency = facts.concurrency || 1
    const told = this.#graph && estimate(this.#graph, fold, this.#times, { concurrency, now })
    return {
      ...facts,
      ms: Math.round(now - fold.begin),
      counts: fold.counts,
      runs: fold.running.slice(0, runsMax),
      failures: [...fold.failures],
      ...(told && { percent: Math.floor(told.done * 100) }),
      ...(goesOn && told?.leftMs !== undefined && { leftMs: Math.round(told.leftMs) }),
      path: told?.path ?? [],
    }
  }

  #targets(): Pick<RunStatus, 'targets'> {
    if (!this.#graph) return {}
    const targets = this.#graph.map(({ name, sources }, place) => {
      return { target: name, state: this.#fold.stateOf(place), sources }
    })
    return { targets }
  }
}
