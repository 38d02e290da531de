/** The maker of runs with workers and without a store: results stay packed in this process, and are
 *  gone with the run. See rfc/24, rule 11, and rfc/25, rule 6. */

import { randomUUID } from 'node:crypto'
import type { Packed } from '../api/value.js'
import { openValues } from '../value/values.js'
import { type CallPool, dropCalled } from './caller.js'
import { RunCodes } from './codes.js'
import type { Step } from './graph.js'
import type { CallPorts, Maker } from './maker.js'
import { type KeptResult, PackedResults } from './packed-results.js'
import { PooledCaller } from './pooled-caller.js'

/** The maker. Mutable; owned by its run. A result has no hash of its bytes, but a key of its own. */
export class PackedMaker implements Maker<KeptResult> {
  readonly #results: PackedResults
  readonly #caller: PooledCaller
  readonly #run = randomUUID()
  #made = 0

  constructor(pool: CallPool) {
    // No bound, since a run without a store has nowhere else to keep its results.
    const max = Number.MAX_SAFE_INTEGER
    this.#results = new PackedResults(openValues({ packedMax: max, openedMax: max }))
    this.#caller = new PooledCaller(pool, new RunCodes(), this.#results)
  }

  async make(step: Step, inputs: readonly KeptResult[], ports: CallPorts): Promise<KeptResult> {
    const called = await ports.call.within(() => this.#caller.call(step, inputs, ports), dropCalled)
    return this.#kept(called.packed)
  }

  #kept(packed: Packed<unknown>): KeptResult {
    return { hash: `${this.#run}/${this.#made++}`, packed }
  }

  arraysOf(step: Step, inputs: readonly KeptResult[]) {
    return this.#results.arraysOf(step, inputs)
  }

  gather(_step: Step, branches: readonly KeptResult[]): KeptResult {
    return { hash: '', packed: branches }
  }

  async nothing(): Promise<KeptResult> {
    return this.#kept(await this.#results.values.pack(null))
  }

  drop(result: KeptResult): void {
    this.#results.drop(result)
  }

  /** Opens results; see `PackedResults`. */
  opened(results: readonly (KeptResult | undefined)[]): Promise<readonly unknown[]> {
    return this.#results.opened(results)
  }
}
