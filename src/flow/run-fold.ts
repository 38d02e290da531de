/** The state of a run, folded from the events of its log. See rfc/26, rules 8 and 9. Pure.
 *  Invariant: any beginning of a log gives a state, each target is in one state at a time, and an event
 *  takes O(1). Events that it does not know change nothing but the time. Memory is bounded by the
 *  graph: of a branch nothing is kept once it has ended. */

import type { Event } from '../api/event.js'
import type { RunCounts, RunFailure, RunningTarget, TargetState } from '../api/flow-look.js'
import type { RunGraph } from './run-graph.js'

/** The largest number of failures that are kept; more are only counted. */
export const failuresMax = 100
/** The largest number of targets that are known to run. */
const runningMax = 10_000

/** A `map` or `cross` whose branches are known. */
export type BranchedState = {
  readonly count: number
  /** The number of branches that have ended. */
  ended: number
  /** The number of branches that were made, and the time that they took, in ms. */
  made: number
  madeMs: number
}

/** The fold. Mutable; owned by whoever reads the log. */
export class RunFold {
  readonly #places = new Map<string, number>()
  readonly #states: TargetState[] = []
  /** The targets of the graph that have no branches. */
  readonly #plain = new Set<string>()
  readonly #counts = { made: 0, found: 0, failed: 0, skipped: 0 }
  readonly #running = new Map<string, number>()
  readonly #branched = new Map<string, BranchedState>()
  readonly #failures: RunFailure[] = []
  /** The number of targets, branches included; each `map` and `cross` whose branches are known counts
   *  as these. */
  #total: number
  #begin: number | undefined
  #last = 0
  /** The times of the calls that were made, in ms. */
  #madeMs = 0
  hasEnded = false

  /** `graph`: where the run has one that is kept. */
  constructor(graph: RunGraph | undefined) {
    for (const [place, { name, hasBranches }] of (graph ?? []).entries()) {
      this.#places.set(name, place)
      this.#states.push('waiting')
      if (!hasBranches) this.#plain.add(name)
    }
    this.#total = graph?.length ?? 0
  }

  /** The time of the first event, ms since 1970. */
  get begin(): number {
    return this.#begin ?? 0
  }

  /** The time of the last event, ms since 1970. */
  get last(): number {
    return this.#last
  }

  get madeMs(): number {
    return this.#madeMs
  }

  get counts(): RunCounts {
    const { made, found, failed, skipped } = this.#counts
    const ended = made + found + failed + skipped
    const running = this.#running.size
    const waiting = Math.max(0, this.#total - ended - running)
    return { made, found, failed, skipped, running, waiting }
  }

  /** The targets that run, and since when, ms since 1970. */
  get running(): readonly RunningTarget[] {
    return [...this.#running].map(([target, since]) => ({ target, since }))
  }

  /** The first failures. */
  get failures(): readonly RunFailure[] {
    return this.#failures
  }

  /** Returns the state of a target by its place in the graph. */
  stateOf(place: number): TargetState {
    const state = this.#states[place] ?? 'waiting'
    return this.hasEnded && state === 'running' ? 'waiting' : state
  }

  /** Returns the time when a target began that runs, ms since 1970. */
  sinceOf(target: string): number | undefined {
    return this.#running.get(target)
  }

  /** Returns the branches of a `map` or `cross` where they are known. */
  branchesOf(target: string): BranchedState | undefined {
    return this.#branched.get(target)
  }

  /** Takes the next event. */
  take({ timestamp, name, context }: Event): void {
    const at = timestamp * 1_000
    this.#begin ??= at
    this.#last = Math.max(this.#last, at)
    if (name === 'end') {
      this.hasEnded = true
      this.#running.clear()
    }
    const target = context?.['target']
    if (typeof target !== 'string') return
    if (name === 'start') this.#start(target, at)
    else if (name === 'hit') this.#end(target, 'found', 0)
    else if (name === 'finish') this.#end(target, 'made', numberOf(context?.['ms']))
    else if (name === 'skip') this.#end(target, 'skipped', 0)
    else if (name === 'branch') this.#branch(target, numberOf(context?.['branches']))
    else if (name === 'retry' || name === 'lost') this.#wait(target)
    else if (name === 'fail') this.#fail(target, context?.['error'])
  }

  #fail(target: string, message: unknown): void {
    if (this.#failures.length < failuresMax && this.#isKnown(target)) {
      this.#failures.push({ target, message: typeof message === 'string' ? message : '' })
    }
    this.#end(target, 'failed', 0)
  }

  /** Takes a target that is called again later. */
  #wait(target: string): void {
    if (this.#running.delete(target)) this.#become(target, 'waiting')
  }

  #start(target: string, at: number): void {
    if (this.hasEnded || this.#running.size >= runningMax || !this.#isKnown(target)) return
    // It may run again, after a failure that was not the last one.
    this.#become(target, 'running')
    this.#running.set(target, at)
  }

  #branch(target: string, count: number): void {
    if (this.#branched.has(target) || !this.#mayBranch(target)) return
    this.#become(target, 'running')
    this.#branched.set(target, { count, ended: 0, made: 0, madeMs: 0 })
    this.#total += count - (this.#places.has(target) ? 1 : 0)
  }

  #end(target: string, state: EndState, ms: number): void {
    if (!this.#isKnown(target)) return
    this.#running.delete(target)
    // A `map` or `cross` counts as its branches.
    if (this.#branched.has(target)) {
      this.#become(target, state)
      return
    }
    const of = this.#branched.get(mapOf(target))
    if (of) {
      if (of.ended === of.count) return
      of.ended++
      if (state === 'made') {
        of.made++
        of.madeMs += ms
      }
    }
    if (state === 'made') this.#madeMs += ms
    if (this.#places.has(target)) this.#become(target, state, { counts: true })
    else {
      this.#counts[state]++
      if (!of) this.#total++
    }
  }

  #mayBranch(target: string): boolean {
    const { size } = this.#places
    return size === 0 || (this.#places.has(target) && !this.#plain.has(target))
  }

  /** True for a target of the graph, a branch of one, and for any where there is no graph. */
  #isKnown(target: string): boolean {
    const { size } = this.#places
    return size === 0 || this.#places.has(target) || this.#branched.has(mapOf(target))
  }

  /** Puts a target of the graph into a state, and counts it. */
  #become(target: string, state: TargetState, { counts = false } = {}): void {
    const place = this.#places.get(target)
    if (place === undefined) return
    const before = this.#states[place]
    if (isEnd(before) && !this.#branched.has(target)) this.#counts[before]--
    this.#states[place] = state
    if (counts && isEnd(state)) this.#counts[state]++
  }
}

type EndState = Exclude<TargetState, 'waiting' | 'running'>

function isEnd(state: TargetState | undefined): state is EndState {
  return state !== undefined && state !== 'waiting' && state !== 'running'
}

/** Returns the name of the `map` or `cross` of a branch. */
function mapOf(target: string): string {
  const end = target.indexOf('[')
  return end < 0 ? '' : target.slice(0, end)
}

function numberOf(value: unknown): number {
  return typeof value === 'number' && value >= 0 ? value : 0
}
