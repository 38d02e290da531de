/** The results of a run's targets. See rfc/24, rule 8.
 *  Invariant: a result is kept from its finish to the end of the last step that needs it; one that the
 *  run was asked for is kept to `end`. Results of branches are not kept here: their map or
 *  cross gathers them. */

import type { Step } from './graph.js'

/** No result: what a step has before it finished, and after its result was dropped. */
const none = Symbol('none')

/** The results by the indices of their steps. Mutable; owned by the driver of its run. */
export class KeptResults<V> {
  readonly #values: (V | typeof none)[]
  /** The number of steps that need a result and have not ended; one more if the run was asked for it. */
  readonly #uses: Int32Array
  readonly #drop: (value: V, step: Step) => void

  /** REQUIRES: `steps` are all of the run but branches. `drop` is called with each result that nobody
   *  needs any more. */
  constructor(
    steps: readonly Step[],
    wanted: readonly Step[],
    drop: (value: V, step: Step) => void,
  ) {
    this.#values = new Array<V | typeof none>(steps.length).fill(none)
    this.#uses = Int32Array.from(steps, ({ dependents }) => dependents.length)
    this.#drop = drop
    for (const { index } of wanted) this.#uses[index] = this.#usesOf(index) + 1
  }

  /** Keeps the result of a step that finished, if somebody needs it. */
  put(step: Step, value: V): void {
    if (this.#usesOf(step.index) > 0) this.#values[step.index] = value
    else this.#drop(value, step)
  }

  /** Returns the results of steps. REQUIRES: these finished, and somebody who needs them has not
   *  ended. */
  of(steps: readonly Step[]): readonly V[] {
    return steps.map(({ index }) => {
      const value = this.#values[index]
      if (value === none) throw new Error('a result is there until the last who needs it has ended')
      return value as V
    })
  }

  /** Returns the results of steps at the end of the run; undefined for those that have none. */
  found(steps: readonly Step[]): readonly (V | undefined)[] {
    return steps.map(({ index }) => {
      const value = this.#values[index]
      return value === none ? undefined : value
    })
  }

  /** Ends the use of the results of a step's sources. */
  release({ sources }: Step): void {
    for (const source of sources) {
      const uses = this.#usesOf(source.index) - 1
      this.#uses[source.index] = uses
      const value = this.#values[source.index]
      if (uses > 0 || value === none) continue
      this.#values[source.index] = none
      this.#drop(value as V, source)
    }
  }

  /** Drops all that are left. `steps` are those of the run. */
  end(steps: readonly Step[]): void {
    for (const [index, value] of this.#values.entries()) {
      const step = steps[index]
      if (value === none || !step) continue
      this.#values[index] = none
      this.#drop(value, step)
    }
  }

  #usesOf(index: number): number {
    return this.#uses[index] ?? 0
  }
}
