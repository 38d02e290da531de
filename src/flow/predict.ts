/** The prediction of a run: its real schedule, with expected times in place of calls. See rfc/26, rule 11.
 *  Invariant: the makespan is never below the longest path, nor below the work by the workers. Pure: no
 *  store and no clock. What costs nothing in a run, such as looks and storing, costs nothing here. */

import type { Target } from '../api/flow.js'
import type { LoopSlice } from '../base/loop-slice.js'
import { Graph, type Step } from './graph.js'
import { Heap } from './heap.js'
import { Schedule } from './schedule.js'
import { map, planWanted, target } from './target.js'

/** A call that is to be made, and its expected time, in ms; undefined for a result that is there. */
export type Expected = number | undefined

/** A target of a run that is predicted. */
export type PredictedTarget = {
  readonly name: string
  /** The places of the targets that it depends on, all before its own. */
  readonly sources: readonly number[]
  readonly needs: readonly (readonly [resource: string, amount: number])[]
  readonly expected: Expected
  /** The branches of a `map` or `cross`, which has no call of its own. */
  readonly branches?: readonly { readonly name: string; readonly expected: Expected }[]
}

/** A call in a predicted run. Times are in ms from its begin. */
export type PredictedCall = {
  readonly target: string
  /** The worker that makes it, from 0 on: of those that are free the one that became so last. */
  readonly worker: number
  readonly from: number
  readonly to: number
}

/** A predicted run. */
export type Predicted = {
  readonly makespanMs: number
  /** The calls, in the order in which they begin. */
  readonly calls: readonly PredictedCall[]
  /** The time that each worker is busy, in ms. */
  readonly busyMs: readonly number[]
}

export type PredictBounds = {
  readonly concurrency: number
  readonly limits: { readonly [resource: string]: number }
}

/** The predictions of one run for any number of workers. */
export class Predictor {
  readonly #targets: readonly PredictedTarget[]
  /** The places of the targets by their steps, and the steps by the places. */
  readonly #places = new Map<Step, number>()
  readonly #steps: Step[] = []
  /** The steps of the branches of each target, by its place. */
  readonly #branches: (readonly Step[])[] = []

  private constructor(graph: Graph, targets: readonly PredictedTarget[]) {
    this.#targets = targets
    const steps = new Map(graph.steps.map((step) => [step.name, step]))
    for (const [place, { name, branches }] of targets.entries()) {
      const step = steps.get(name)
      if (!step) throw new Error('each target has a step')
      this.#places.set(step, place)
      this.#steps.push(step)
      if (!branches) continue
      graph.branch(step, [new Array(branches.length)])
      this.#branches[place] = branches.flatMap(() => graph.nextBranch(step) ?? [])
    }
  }

  /** REQUIRES: `targets` stand behind those that they depend on. `rankedMs` tells the time that the run
   *  expects of a target when it orders them, its branches included. Throws EINVAL, E2BIG. */
  static async of(
    targets: readonly PredictedTarget[],
    rankedMs: (name: string) => number,
    slice: LoopSlice,
  ): Promise<Predictor> {
    const made: Target<unknown>[] = []
    for (const { name, sources, needs, branches } of targets) {
      if (slice.over) await slice.turn()
      const inputs = sources.flatMap((source) => made[source] ?? [])
      const [first, ...rest] = inputs
      const options = { needs: Object.fromEntries(needs) }
      const isMap = branches && first
      made.push(
        isMap
          ? map(name, [first as Target<unknown[]>, rest], nothing, options)
          : target(name, [inputs], nothing, options),
      )
    }
    const { sources } = planWanted(made)
    const graph = await Graph.of(sources, slice, (step) => rankedMs(step.target.name))
    return new Predictor(graph, targets)
  }

  /** The time of all calls, in ms. */
  get workMs(): number {
    return this.#targets.reduce((sum, each) => sum + workOf(each), 0)
  }

  /** The longest path: the targets on it that are made, and the time of each, in ms. */
  get path(): readonly { readonly target: string; readonly ms: number }[] {
    const lengths = new Float64Array(this.#targets.length)
    const next = new Int32Array(this.#targets.length).fill(-1)
    let first = -1
    for (let place = this.#targets.length - 1; place >= 0; place--) {
      const each = this.#targets[place]
      if (!each) continue
      const length = (lengths[place] ?? 0) + longestOf(each)
      lengths[place] = length
      if (first < 0 || length > (lengths[first] ?? 0)) first = place
      for (const source of each.sources) {
        if (length <= (lengths[source] ?? 0)) continue
        lengths[source] = length
        next[source] = place
      }
    }
    const path: { readonly target: string; readonly ms: number }[] = []
    for (let at = first; at >= 0; at = next[at] ?? -1) {
      const each = this.#targets[at]
      if (each && workOf(each) > 0) path.push({ target: each.name, ms: longestOf(each) })
    }
    return path
  }

  /** Predicts the run. Throws EINVAL (a target needs more of a resource than there is). */
  async predict(bounds: PredictBounds, slice: LoopSlice): Promise<Predicted> {
    const simulation = new Simulation(
      {
        targets: this.#targets,
        places: this.#places,
        steps: this.#steps,
        branches: this.#branches,
      },
      bounds,
    )
    while (simulation.advance()) if (slice.over) await slice.turn()
    return simulation.predicted
  }
}

/** The steps of a prediction, by the places of their targets. */
type SimulatedSteps = {
  readonly targets: readonly PredictedTarget[]
  readonly places: ReadonlyMap<Step, number>
  readonly steps: readonly Step[]
  readonly branches: readonly (readonly Step[])[]
}

/** One predicted run. Mutable; owned by `predict`. */
class Simulation {
  readonly #steps: SimulatedSteps
  readonly #schedule: Schedule
  /** The number of inputs of each target that are not there. */
  readonly #missing: Int32Array
  /** The number of branches of each target that have not ended. */
  readonly #left: Int32Array
  readonly #running = new Heap<Running>(
    (a, b) => a.to < b.to || (a.to === b.to && a.order < b.order),
  )
  readonly #free: number[] = []
  readonly #busyMs: number[] = []
  readonly #calls: PredictedCall[] = []
  readonly #ended: Step[] = []
  #now = 0

  constructor(steps: SimulatedSteps, { concurrency, limits }: PredictBounds) {
    this.#steps = steps
    this.#schedule = new Schedule({ concurrency, limits, looksMax: 0 })
    for (const { target } of steps.steps) this.#schedule.admit(target)
    this.#missing = Int32Array.from(steps.steps, ({ sources }) => sources.length)
    this.#left = Int32Array.from(steps.targets, ({ branches }) => branches?.length ?? 0)
    for (const place of steps.targets.keys()) if (this.#missing[place] === 0) this.#ready(place)
  }

  get predicted(): Predicted {
    return { makespanMs: this.#now, calls: this.#calls, busyMs: this.#busyMs }
  }

  /** Does the next thing. Returns false if there is none. */
  advance(): boolean {
    const ended = this.#ended.pop()
    if (ended) {
      this.#end(ended)
      return true
    }
    const step = this.#schedule.takeCall()
    if (step) {
      this.#call(step)
      return true
    }
    const { first } = this.#running
    if (!first) return false
    this.#now = first.to
    // All that end at one time have ended before another call begins.
    while (this.#running.first?.to === this.#now) this.#return(this.#running.take() as Running)
    return true
  }

  #ready(place: number): void {
    const branches = this.#steps.branches[place]
    const step = this.#steps.steps[place] as Step
    if (!branches) this.#add(step)
    else if (branches.length === 0) this.#ended.push(step)
    else for (const branch of branches) this.#add(branch)
  }

  #add(step: Step): void {
    if (this.#expectedOf(step) === undefined) this.#ended.push(step)
    else this.#schedule.addCall(step)
  }

  #call(step: Step): void {
    const worker = this.#free.pop() ?? this.#busyMs.push(0) - 1
    const ms = this.#expectedOf(step) ?? 0
    const [from, to] = [this.#now, this.#now + ms]
    this.#busyMs[worker] = (this.#busyMs[worker] ?? 0) + ms
    this.#running.push({ step, worker, to, order: this.#calls.length })
    this.#calls.push({ target: this.#nameOf(step), worker, from, to })
  }

  #return({ step, worker }: Running): void {
    this.#free.push(worker)
    this.#schedule.endCall(step)
    this.#ended.push(step)
  }

  #end(step: Step): void {
    const place = this.#placeOf(step)
    if (step.of) {
      const left = (this.#left[place] ?? 0) - 1
      this.#left[place] = left
      if (left === 0) this.#ended.push(step.of)
      return
    }
    for (const dependent of step.dependents) {
      const at = this.#placeOf(dependent)
      const missing = (this.#missing[at] ?? 0) - 1
      this.#missing[at] = missing
      if (missing === 0) this.#ready(at)
    }
  }

  /** Returns the place of the target of a step. */
  #placeOf(step: Step): number {
    return this.#steps.places.get(step.of ?? step) ?? 0
  }

  #expectedOf(step: Step): Expected {
    const each = this.#steps.targets[this.#placeOf(step)]
    return step.of ? each?.branches?.[step.branch]?.expected : each?.expected
  }

  #nameOf(step: Step): string {
    if (!step.of) return step.name
    return this.#steps.targets[this.#placeOf(step)]?.branches?.[step.branch]?.name ?? step.name
  }
}

type Running = {
  readonly step: Step
  readonly worker: number
  readonly to: number
  readonly order: number
}

function nothing(): void {}

function workOf({ expected, branches }: PredictedTarget): number {
  if (!branches) return expected ?? 0
  return branches.reduce((sum, branch) => sum + (branch.expected ?? 0), 0)
}

/** Returns the least time of a target, however many workers there are. */
function longestOf({ expected, branches }: PredictedTarget): number {
  if (!branches) return expected ?? 0
  return branches.reduce((longest, branch) => Math.max(longest, branch.expected ?? 0), 0)
}
