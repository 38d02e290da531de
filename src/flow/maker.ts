/** The port between the driver of a run and the way in which its results are found and made. See rfc/24,
 *  rules 3, 11 and 17.
 *  Invariant: a maker changes nothing of the run. It answers, and the driver goes on with that. */

import type { WorkerCallFacts } from '../api/flow.js'
import type { TargetCall } from './calls.js'
import type { Step } from './graph.js'

/** The way in which the results of a run, of type `V`, are found and made. What its calls throw fails
 *  the step. `inputs` are the results of the step's sources. */
export interface Maker<V> {
  /** Looks whether the result is there already; undefined if it is not. A maker without `look` makes
   *  all. */
  look?(step: Step, inputs: readonly V[]): Look<V> | Promise<Look<V>>
  /** Makes the result of a step. */
  make(step: Step, inputs: readonly V[], ports: CallPorts): Made<V> | Promise<Made<V>>
  /** Returns the arrays whose elements the branches of a map or cross go through. */
  arraysOf(
    step: Step,
    inputs: readonly V[],
  ): readonly (readonly unknown[])[] | Promise<readonly (readonly unknown[])[]>
  /** Returns the result of a map or cross from those of its branches. */
  gather(step: Step, branches: readonly V[]): V | Promise<V>
  /** Returns null as the result of a step that failed. */
  nothing(step: Step): V | Promise<V>
  /** Hears of each result of a target that the run does not need any more. */
  drop?(value: V, step: Step): void
  /** Gives back what was taken for steps that are not called any more. Called once, when nothing is
   *  under way. Never throws. */
  end?(): Promise<void>
}

/** The ports of a call. */
export type CallPorts = {
  /** Its signal aborts when the run ends early, or its time is over. */
  readonly call: TargetCall
  /** Says that the function is called now; said again if it is called again, elsewhere. */
  readonly begin: () => void
  /** Says that the function has returned, though its result is not there yet: the call gives its place
   *  to another one. It need not be called. `ms`: the time that it took, if not that since `begin`;
   *  `facts`: its parts. */
  readonly returned: (ms?: number, facts?: WorkerCallFacts) => void
  /** Says that what had begun the call is gone. */
  readonly lost: () => void
  /** Says that nobody who is there now can call it: it waits until one joins. */
  readonly waits: () => void
  /** Says that a worker is not asked any more, since it has other code, and why. */
  readonly refused: (worker: string, error: unknown) => void
}

/** The answer of a call: the result, made or found. */
export type Made<V> = V | FoundResult<V> | ParkedStep

/** The answer for a result that turned out to be there. */
export class FoundResult<V> {
  readonly value: V

  constructor(value: V) {
    this.value = value
  }
}

/** The answer to a look. */
export type Look<V> = { readonly value: V } | ParkedStep | undefined

/** The answer for a step that somebody else makes at the moment: it takes no place meanwhile. */
export class ParkedStep {
  /** Resolves when it is to be looked for again. */
  readonly until: Promise<unknown>

  constructor(until: Promise<unknown>) {
    this.until = until
  }
}
