/** The events of a run, for all who read them. See rfc/24, rule 8.
 *  Invariant: they are kept from the first to the last one until nobody has the run any more, so that a
 *  reader begins and goes on where it likes, and misses none. An event takes some 32 bytes: it becomes
 *  an object when it is read. */

import type { FailureMode, FlowEvent, WorkerCallFacts } from '../api/flow.js'
import { LoopSlice } from '../base/loop-slice.js'
import { Wakeup } from '../base/wakeup.js'
import type { Retry } from './failure.js'
import type { Step } from './graph.js'

/** The kinds of events, by their numbers. */
const kinds = [
  'start',
  'hit',
  'finish',
  'branch',
  'retry',
  'fail',
  'skip',
  'lost',
  'wait',
  'refuse',
  'audit',
] as const
type Kind = (typeof kinds)[number]
/** Details of a failure. */
type Thrown = { readonly error: unknown }
type Refusal = Thrown & { readonly worker: string }
type Failure = Thrown & { readonly onError: FailureMode }
/** Numbers of each event: its kind, its time, and one that depends on the kind. */
const width = 3

/** The events. Mutable; written by the driver of the run. */
export class RunEvents {
  readonly #now: () => number
  readonly #steps: Step[] = []
  readonly #numbers: number[] = []
  /** Details of events about failures. */
  readonly #reasons: unknown[] = []
  /** The parts of calls of workers, by the indices of their events. */
  readonly #facts = new Map<number, WorkerCallFacts>()
  readonly #wakeup = new Wakeup()
  #hasEnded = false

  /** `now` tells the wall clock, in ms since 1970. */
  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  start(step: Step): void {
    this.#add('start', step, 0)
  }

  hit(step: Step): void {
    this.#add('hit', step, 0)
  }

  lost(step: Step): void {
    this.#add('lost', step, 0)
  }

  refuse(step: Step, refusal: Refusal): void {
    this.#add('refuse', step, this.#reasons.push(refusal) - 1)
  }

  wait(step: Step): void {
    this.#add('wait', step, 0)
  }

  finish(step: Step, ms: number, facts?: WorkerCallFacts): void {
    if (facts) this.#facts.set(this.#steps.length, facts)
    this.#add('finish', step, ms)
  }

  branch(step: Step, branches: number): void {
    this.#add('branch', step, branches)
  }

  retry(step: Step, error: unknown, { tries, waitMs }: Retry): void {
    this.#add('retry', step, this.#reasons.push({ error, tries, waitMs }) - 1)
  }

  fail(step: Step, error: unknown, onError: FailureMode): void {
    this.#add('fail', step, this.#reasons.push({ error, onError }) - 1)
  }

  audit(step: Step, files: readonly string[]): void {
    this.#add('audit', step, this.#reasons.push(files) - 1)
  }

  skip(step: Step, because: Step): void {
    this.#add('skip', step, this.#reasons.push(because) - 1)
  }

  /** Ends the readers, once they have read all. */
  end(): void {
    this.#hasEnded = true
    this.#wakeup.wake()
  }

  /** Yields all events, from the first one to the end. */
  async *read(): AsyncGenerator<FlowEvent, void, undefined> {
    const slice = new LoopSlice()
    for (let at = 0; ; ) {
      const seen = this.#wakeup.count
      const step = this.#steps[at]
      if (step) {
        if (slice.over) await slice.turn()
        yield this.#eventOf(step, at++)
      } else if (this.#hasEnded) return
      else await this.#wakeup.wait(seen)
    }
  }

  #add(kind: Kind, step: Step, more: number): void {
    this.#numbers.push(kinds.indexOf(kind), this.#now(), more)
    this.#steps.push(step)
    this.#wakeup.wake()
  }

  #eventOf(step: Step, index: number): FlowEvent {
    const [kind = 0, at = 0, more = 0] = this.#numbers.slice(index * width, (index + 1) * width)
    const type = kinds[kind] ?? 'start'
    const common = { target: step.name, at }
    switch (type) {
      case 'start':
      case 'hit':
      case 'lost':
        return { type, ...common }
      case 'wait': {
        const { label } = step.target
        return { type, ...common, ...(label !== undefined && { label }) }
      }
      case 'finish': {
        const call = this.#facts.get(index)
        return { type, ...common, ms: more, ...(call && { call }) }
      }
      case 'branch':
        return { type, ...common, branches: more }
      case 'retry':
        return { type, ...common, ...(this.#reasons[more] as Retry & Thrown) }
      case 'audit':
        return { type, ...common, files: this.#reasons[more] as readonly string[] }
      case 'refuse':
        return { type, ...common, ...(this.#reasons[more] as Refusal) }
      case 'fail':
        return { type, ...common, ...(this.#reasons[more] as Failure) }
      case 'skip':
        return { type, ...common, because: (this.#reasons[more] as Step).name }
      default:
        return type satisfies never
    }
  }
}
