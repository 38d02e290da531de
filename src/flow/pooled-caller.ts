/** Calls functions of targets by the workers of a pool. See rfc/25, rules 4 and 5.
 *  Invariant: no input and no result is opened here. What goes to a worker is named by its hash, so that
 *  one who has it is not sent it again. */

import { serialize } from 'node:v8'
import type { Packed } from '../api/value.js'
import type {
  Caller,
  CallerPorts,
  CallPool,
  InputTree,
  PackedTask,
  PooledCall,
  TaskInput,
} from './caller.js'
import type { RunCodes } from './codes.js'
import type { Step } from './graph.js'
import {
  type BranchElement,
  isBranches,
  type KeptResult,
  type PackedResults,
} from './packed-results.js'
import { resultSlotsOf } from './plan.js'
import type { TargetRecord } from './target.js'

/** Calls functions by a pool. Mutable: it remembers the packed plans of targets; owned by one run. */
export class PooledCaller implements Caller {
  readonly #pool: CallPool
  readonly #codes: RunCodes
  readonly #results: PackedResults
  readonly #plans = new WeakMap<TargetRecord, Uint8Array>()

  constructor(pool: CallPool, codes: RunCodes, results: PackedResults) {
    this.#pool = pool
    this.#codes = codes
    this.#results = results
  }

  async call(
    step: Step,
    inputs: readonly KeptResult[],
    { call, begin, returned, lost, waits, refused }: CallerPorts,
  ): Promise<Packed<unknown>> {
    const code = await this.#codes.of(step.target.fn)
    const needed = new Map<string, TaskInput>()
    const task: PackedTask = {
      ...{ target: step.target.name, function: code.function, module: code.module },
      ...{ plans: this.#plansOf(step.target), packed: step.target.packed },
      keepsOutput: call.keepsOutput,
      inputs: slotsOf(step.target).map((slot) => [
        slot,
        this.#treeOf(inputs[slot] as KeptResult, needed),
      ]),
      elements: (step.elements as readonly BranchElement[]).map((each) =>
        this.#treeOf(each, needed),
      ),
    }
    const pooled: PooledCall = {
      ...{ task, inputs: [...needed.values()], signal: call.signal, begin },
      label: step.target.label,
      lost: lost ?? (() => {}),
      waits: waits ?? (() => {}),
      print: (stream, bytes) => call.print(stream, bytes),
      refused: refused ?? (() => {}),
      poisoned: () => call.giveUp(),
    }
    const { bytes, facts } = await this.#pool.call(pooled)
    returned(facts.runMs, facts)
    return this.#results.values.of(bytes)
  }

  /** Returns the keys of a result, and adds what is needed. */
  #treeOf(result: BranchElement, needed: Map<string, TaskInput>): InputTree {
    const { hash } = result
    if (!('packed' in result)) {
      needed.set(hash, { key: hash, load: () => this.#packedOf(result.value) })
      return hash
    }
    const { packed } = result
    if (isBranches(packed)) return packed.map((branch) => this.#treeOf(branch, needed))
    needed.set(hash, { key: hash, load: () => packed.bytes() })
    return hash
  }

  /** Returns the packed bytes of an element of an array that was opened to find its branches. */
  async #packedOf(value: unknown): Promise<Uint8Array> {
    using packed = await this.#results.values.pack(value)
    return await packed.bytes()
  }

  #plansOf(target: TargetRecord): Uint8Array {
    const plans = this.#plans.get(target) ?? serialize(target.inputs)
    this.#plans.set(target, plans)
    return plans
  }
}

/** Returns the slots of the sources whose results a function gets, opened or packed. */
function slotsOf({ inputs, packed }: TargetRecord): readonly number[] {
  return [...new Set([...inputs.flatMap(resultSlotsOf), ...packed])]
}
