/** The driver of a run: begins steps, takes what comes of them, and tells what happens. See rfc/24,
 *  rules 3, 5 to 10 and 29. How a result is found and made is its maker's.
 *  Invariant: all that changes the run is done by one loop, `drive`, but for the stop that a signal asks
 *  for. What ends elsewhere is put into a queue and wakes the loop; so nothing is re-entered, nothing
 *  polls, and a call that returns no promise costs none. The run ends when nothing is under way. */

import type { FailureMode, FlowRunOptions, WorkerCallFacts } from '../api/flow.js'
import { onAbort } from '../base/abort.js'
import { isPromise } from '../base/deferred.js'
import type { LoopSlice } from '../base/loop-slice.js'
import { Wakeup } from '../base/wakeup.js'
import { canceled, TailraceError } from '../error.js'
import { TargetCall } from './calls.js'
import { type RunClock, systemClock } from './clock.js'
import type { RunEvents } from './events.js'
import { failureModeOf, Retries } from './failure.js'
import type { Graph, Step } from './graph.js'
import { FoundResult, type Look, type Made, type Maker, ParkedStep } from './maker.js'
import { KeptResults } from './results.js'
import { type LabelPlaces, Schedule } from './schedule.js'

/** The most looks at the same time. */
const looksMax = 256

/** All that a run consists of. */
export type RunParts<V> = {
  readonly graph: Graph
  readonly maker: Maker<V>
  readonly events: RunEvents
  readonly slice: LoopSlice
  readonly options: RunBounds
  /** Default: that of the system. */
  readonly clock?: RunClock
  /** Says what comes of a step that fails. Default: what its target says, else the options. */
  readonly modeOf?: (step: Step) => FailureMode
}

/** The options of a run that its driver keeps to. */
export type RunBounds = Required<Pick<FlowRunOptions, 'concurrency' | 'limits' | 'onError'>> &
  Pick<FlowRunOptions, 'retries' | 'audit'> & {
    readonly signal: AbortSignal | undefined
    /** The places for targets with labels. Default: labels mean nothing. */
    readonly labels?: LabelPlaces
    /** Calls `run` when there may be more places, until the returned function is called. Default: they
     *  change with answers only. */
    readonly onPlaces?: (run: () => void) => () => void
  }

/** Makes all targets of a graph, and returns what `take` makes of the results of those that are wanted, in
 *  their order; those that were left out have none. The maker hears of each result when nobody needs it
 *  any more, of these once `take` has ended. Throws what the first step threw whose failure fails the
 *  run, what `canceled` returns for the run's signal, or EINVAL (a target needs more of a resource than
 *  there is). */
export async function drive<V, R>(
  parts: RunParts<V>,
  take: (results: readonly (V | undefined)[]) => R | Promise<R>,
): Promise<R> {
  return new Driver(parts).drive(take)
}

/** The branches of one map or cross that are under way. */
type Gathering<V> = {
  readonly of: Step
  readonly began: number
  /** A branch that is left out has none. */
  readonly results: V[]
  /** The number of branches that have not ended. */
  left: number
}

/** A step that failed or was skipped, and the one that failed first: what depends on it is skipped. */
type Skip = { readonly step: Step; readonly because: Step }

class Driver<V> {
  readonly #graph: Graph
  readonly #maker: Maker<V>
  readonly #events: RunEvents
  readonly #slice: LoopSlice
  readonly #options: RunBounds
  readonly #clock: RunClock
  readonly #modeOf: (step: Step) => FailureMode
  readonly #retries: Retries
  readonly #schedule: Schedule
  readonly #results: KeptResults<V>
  readonly #stopping = new AbortController()
  readonly #wakeup = new Wakeup()
  /** Answers that came meanwhile, for the loop. */
  readonly #answers: (() => void)[] = []
  readonly #skips: Skip[] = []
  /** Maps and crosses whose inputs are there, and that were not asked for their branches. */
  readonly #forks: Step[] = []
  /** Maps and crosses whose branches are known and not all added. */
  readonly #branching: Step[] = []
  readonly #gatherings = new Map<Step, Gathering<V>>()
  /** Questions to the maker that are not answered. */
  #underWay = 0
  #parked = 0
  /** The reason why the run fails. */
  #thrown: { readonly error: unknown } | undefined

  constructor(parts: RunParts<V>) {
    const { graph, maker, events, slice, options, clock = systemClock } = parts
    this.#graph = graph
    this.#maker = maker
    this.#events = events
    this.#slice = slice
    this.#options = options
    const { onError, retries = 0 } = options
    this.#clock = clock
    this.#modeOf = parts.modeOf ?? ((step) => failureModeOf(step, onError))
    this.#retries = new Retries(clock, retries)
    const bounds = {
      limits: options.limits,
      ...(options.labels && { labels: options.labels }),
      looksMax: maker.look ? looksMax : 0,
      // Workers take more calls once they are known to be short.
      get concurrency() {
        return options.concurrency
      },
    }
    this.#schedule = new Schedule(bounds)
    const drop = (value: V, step: Step) => maker.drop?.(value, step)
    this.#results = new KeptResults(graph.steps, graph.wanted, drop)
  }

  async drive<R>(take: (results: readonly (V | undefined)[]) => R | Promise<R>): Promise<R> {
    try {
      await this.#run()
      if (this.#thrown) throw this.#thrown.error
      return await take(this.#results.found(this.#graph.wanted))
    } finally {
      this.#dropAll()
    }
  }

  /** Makes what there is to make, until nothing is under way. */
  async #run(): Promise<void> {
    const { signal } = this.#options
    if (signal?.aborted) throw canceled(signal)
    const end = onAbort(signal, () => {
      if (signal) this.#cancel(canceled(signal))
    })
    const endPlaces = this.#options.onPlaces?.(() => {
      this.#take(() => this.#schedule.placesChanged())
    })
    try {
      // All are admitted before one of them begins, and all that are ready take part then.
      for (const step of this.#graph.steps) {
        if (this.#slice.over) await this.#slice.turn()
        this.#schedule.admit(step.target)
        if (step.missing === 0) this.#ready(step)
      }
      for (;;) {
        const seen = this.#wakeup.count
        while (this.#advance()) if (this.#slice.over) await this.#slice.turn()
        if (this.#hasEnded) break
        for (const step of this.#schedule.takeStranded()) this.#events.wait(step)
        await this.#wakeup.wait(seen)
      }
    } finally {
      end()
      endPlaces?.()
      await this.#maker.end?.()
    }
  }

  #dropAll(): void {
    for (const gathering of this.#gatherings.values()) this.#dropBranches(gathering)
    this.#results.end(this.#graph.steps)
  }

  #dropBranches({ of, results }: Gathering<V>): void {
    // Holes are left out.
    results.forEach((value) => {
      this.#maker.drop?.(value, of)
    })
    results.length = 0
  }

  get #hasEnded(): boolean {
    if (this.#underWay > 0) return false
    // Without places, steps may wait though nothing is under way.
    return this.#isStopped || (this.#parked === 0 && !this.#schedule.hasWaiting)
  }

  get #isStopped(): boolean {
    return this.#stopping.signal.aborted
  }

  /** Does the next thing that there is to do. Returns false if there is none. */
  #advance(): boolean {
    const answer = this.#answers.shift()
    if (answer) {
      answer()
      return true
    }
    const skip = this.#skips.pop()
    if (skip) {
      this.#skipDependents(skip)
      return true
    }
    const fork = this.#forks.shift()
    if (fork) {
      this.#branch(fork)
      return true
    }
    const branching = this.#branching[0]
    if (branching) {
      const branch = this.#graph.nextBranch(branching)
      if (branch) this.#schedule.add(branch)
      else this.#branching.shift()
      return true
    }
    const sought = this.#schedule.takeLook()
    if (sought) {
      this.#look(sought)
      return true
    }
    const called = this.#schedule.takeCall()
    if (called) this.#call(called)
    return called !== undefined
  }

  /** Takes a step whose inputs are there. */
  #ready(step: Step): void {
    if (step.target.arrays.length === 0) this.#schedule.add(step)
    // Its turn comes in the loop, since one that is empty makes the next one ready at once.
    else if (!this.#isStopped) this.#forks.push(step)
  }

  #look(step: Step): void {
    this.#ask<Look<V>>(
      () => this.#maker.look?.(step, this.#inputsOf(step)),
      (look) => this.#looked(step, look),
      (error) => {
        this.#schedule.endLook()
        this.#fail(step, error)
      },
    )
  }

  #looked(step: Step, look: Look<V>): void {
    this.#schedule.endLook()
    if (!look) this.#schedule.addCall(step)
    else if (look instanceof ParkedStep) this.#park(step, look)
    else this.#found(step, look.value)
  }

  #found(step: Step, value: V): void {
    this.#events.hit(step)
    this.#finish(step, value)
  }

  #call(step: Step): void {
    const { name, target } = step
    const ms = target.failure.timeoutMs
    const bound = ms === undefined ? undefined : { ms, name, clock: this.#clock }
    const audit = this.#options.audit
      ? (files: readonly string[]) => this.#events.audit(step, files)
      : undefined
    const call = new TargetCall(this.#stopping.signal, bound, audit)
    let began: number | undefined
    let ended: number | undefined
    let tookMs: number | undefined
    let facts: WorkerCallFacts | undefined
    // A call that nobody waits for any more may still go on.
    let isOver = false
    const begin = () => {
      if (isOver) return
      this.#events.start(step)
      began = performance.now()
      call.begin()
    }
    const returned = (ms?: number, parts?: WorkerCallFacts) => {
      if (isOver) return
      call.returned(ms)
      ended = performance.now()
      tookMs = ms
      facts = parts
      call.end()
      this.#take(() => this.#schedule.endCall(step))
    }
    const lost = () => {
      if (!isOver) this.#events.lost(step)
    }
    const waits = () => {
      if (!isOver) this.#events.wait(step)
    }
    const refused = (worker: string, error: unknown) => {
      if (!isOver) this.#events.refuse(step, { worker, error })
    }
    const endCall = () => {
      isOver = true
      if (ended !== undefined) return
      call.end()
      this.#schedule.endCall(step)
    }
    this.#ask<Made<V>>(
      () => {
        const ports = { call, begin, returned, lost, waits, refused }
        return this.#maker.make(step, this.#inputsOf(step), ports)
      },
      (made, at) => {
        endCall()
        this.#made(step, made, tookMs ?? (ended ?? at) - (began ?? at), facts)
      },
      (error) => {
        endCall()
        if (began === undefined || call.isGivenUp) this.#fail(step, error)
        else this.#callAgain(step, error)
      },
    )
  }

  #made(step: Step, made: Made<V>, ms: number, facts?: WorkerCallFacts): void {
    if (made instanceof ParkedStep) this.#park(step, made)
    else if (made instanceof FoundResult) this.#found(step, made.value)
    else {
      this.#events.finish(step, ms, facts)
      this.#finish(step, made)
    }
  }

  #park(step: Step, { until }: ParkedStep): void {
    this.#parked++
    const again = () => {
      this.#parked--
      this.#schedule.add(step)
    }
    // A promise that rejects is a reason to look again, too.
    const take = () => this.#take(again)
    until.then(take, take)
  }

  /** Lets a step be called again whose call failed; fails it if there were calls enough. */
  #callAgain(step: Step, error: unknown): void {
    const retry = this.#isStopped ? undefined : this.#retries.next(step)
    if (!retry) {
      this.#fail(step, error)
      return
    }
    this.#events.retry(step, error, retry)
    this.#parked++
    const again = () => {
      this.#parked--
      // Another run may have made it meanwhile.
      this.#schedule.add(step)
    }
    this.#retries.wait(step, retry, () => this.#take(again))
  }

  /** Asks for the branches of a map or cross. */
  #branch(step: Step): void {
    this.#ask(
      () => this.#maker.arraysOf(step, this.#inputsOf(step)),
      (arrays) => this.#branched(step, arrays),
      (error) => this.#fail(step, error),
    )
  }

  #branched(step: Step, arrays: readonly (readonly unknown[])[]): void {
    let count: number
    try {
      count = this.#graph.branch(step, arrays).count
    } catch (error) {
      this.#fail(step, error)
      return
    }
    this.#events.branch(step, count)
    const results = new Array<V>(count)
    this.#gatherings.set(step, { of: step, began: performance.now(), results, left: count })
    if (count > 0) this.#branching.push(step)
    else this.#gather(step)
  }

  /** Makes the result of a map or cross once all of its branches have ended. */
  #gather(step: Step): void {
    const gathering = this.#gatherings.get(step)
    this.#gatherings.delete(step)
    step.branches?.drop()
    if (step.isSkipped || !gathering) {
      this.#results.release(step)
      return
    }
    // A branch that was left out is a hole, which a filter passes over.
    const results = gathering.results.filter(() => true)
    this.#ask(
      () => this.#maker.gather(step, results),
      (value, at) => {
        this.#events.finish(step, at - gathering.began)
        this.#finish(step, value)
      },
      (error) => this.#fail(step, error),
    )
  }

  /** Takes the result of a step. */
  #finish(step: Step, value: V): void {
    const { of } = step
    this.#retries.forget(step)
    if (!of) {
      this.#results.put(step, value)
      for (const dependent of step.dependents) {
        dependent.missing--
        if (dependent.missing === 0) this.#ready(dependent)
      }
    } else {
      const gathering = of.isSkipped ? undefined : this.#gatherings.get(of)
      if (gathering) gathering.results[step.branch] = value
      else this.#maker.drop?.(value, step)
    }
    this.#end(step)
  }

  /** Takes the failure of a step. */
  #fail(step: Step, error: unknown): void {
    const mode = this.#modeOf(step)
    this.#events.fail(step, error, mode)
    switch (mode) {
      case 'null':
        this.#ask(
          () => this.#maker.nothing(step),
          (value) => this.#finish(step, value),
          (failed) => this.#lose(step, failed),
        )
        return
      case 'trim':
        this.#leaveOut(step)
        return
      case 'stop': {
        const message = `the run ends, since target ${step.name} failed`
        this.#stop(new TailraceError('ECANCELED', message, { cause: error }))
        this.#lose(step, error)
        return
      }
      case 'continue':
        this.#lose(step, error)
        return
      default:
        mode satisfies never
    }
  }

  /** Fails the run because of a step, and skips what depends on that. */
  #lose(step: Step, error: unknown): void {
    this.#thrown ??= { error }
    this.#skipDependents({ step, because: step })
    this.#end(step)
  }

  #leaveOut(step: Step): void {
    if (!step.of) this.#skipDependents({ step, because: step })
    this.#end(step)
  }

  /** Ends a step that finished or failed: it needs nothing any more. */
  #end(step: Step): void {
    const { of } = step
    if (!of) {
      this.#results.release(step)
      return
    }
    const gathering = this.#gatherings.get(of)
    if (!gathering) return
    gathering.left--
    if (gathering.left === 0) this.#gather(of)
  }

  #skipDependents({ step, because }: Skip): void {
    for (const dependent of step.dependents) {
      if (dependent.isSkipped) continue
      dependent.isSkipped = true
      this.#events.skip(dependent, because)
      this.#skips.push({ step: dependent, because })
      const gathering = this.#gatherings.get(dependent)
      // Its other branches need its inputs, until the last of them has ended.
      if (gathering) this.#dropBranches(gathering)
      else this.#results.release(dependent)
    }
  }

  #cancel(reason: TailraceError): void {
    this.#thrown ??= { error: reason }
    this.#stop(reason)
    this.#wakeup.wake()
  }

  #stop(reason: TailraceError): void {
    this.#schedule.stop()
    this.#forks.length = 0
    this.#branching.length = 0
    this.#retries.end()
    this.#stopping.abort(reason)
  }

  #inputsOf({ sources }: Step): readonly V[] {
    return this.#results.of(sources)
  }

  /** Asks the maker, and goes on with the answer: at once, or when the loop takes it. `at`: when it
   *  came, as performance.now() tells it. */
  #ask<T>(
    question: () => T | Promise<T>,
    then: (answer: T, at: number) => void,
    failed: (error: unknown) => void,
  ): void {
    let answer: T | Promise<T>
    let isLater: boolean
    try {
      answer = question()
      isLater = isPromise(answer)
    } catch (error) {
      failed(error)
      return
    }
    if (!isLater) {
      then(answer as T, performance.now())
      return
    }
    this.#underWay++
    const settled = (act: () => void) => {
      this.#take(() => {
        this.#underWay--
        act()
      })
    }
    Promise.resolve(answer).then(
      (value) => {
        const at = performance.now()
        settled(() => then(value, at))
      },
      (error) => settled(() => failed(error)),
    )
  }

  /** Lets the loop do something. */
  #take(act: () => void): void {
    this.#answers.push(act)
    this.#wakeup.wake()
  }
}
