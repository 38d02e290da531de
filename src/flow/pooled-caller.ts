/** Calls functions of targets by the workers of a pool. See rfc/25, rules 4 and 5.
 *  Invariant: no input and no result is opened here. What goes to a worker is named by its hash, so that
 *  one who has it is not sent it again. */

import { serialize } from 'node:v8'
import type { Kvs } from '../api/kvs.js'
import { TailraceError } from '../error.js'
import type {
  CalledValue,
  Caller,
  CallerPorts,
  CallPool,
  InputTree,
  PackedTask,
  PooledAnswer,
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
  /** The store of the run, if it has one. */
  readonly #store: Kvs | undefined
  readonly #plans = new WeakMap<TargetRecord, Uint8Array>()

  constructor(pool: CallPool, codes: RunCodes, results: PackedResults, store?: Kvs) {
    this.#pool = pool
    this.#codes = codes
    this.#results = results
    this.#store = store
  }

  async call(
    step: Step,
    inputs: readonly KeptResult[],
    { call, begin, returned, lost, waits, refused }: CallerPorts,
  ): Promise<CalledValue> {
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
    const { result, facts } = await this.#pool.call(pooled)
    returned(facts.runMs, facts)
    return this.#called(result)
  }

  /** Returns the result of a call. One that stands in another store than that of the run is fetched. */
  async #called(result: PooledAnswer['result']): Promise<CalledValue> {
    const { values } = this.#results
    if (!('key' in result)) return { packed: await values.of(result) }
    const { store, key, namespace } = result
    if (store === this.#store) {
      return { packed: values.from(store, key, { namespace }), placed: result }
    }
    try {
      const bytes = await store.get(key, { namespace })
      if (!bytes) throw new TailraceError('ENOENT', `the result at ${key} is gone`)
      return { packed: await values.of(bytes) }
    } finally {
      result.release()
    }
  }

  /** Returns the keys of a result, and adds what is needed. */
  #treeOf(result: BranchElement, needed: Map<string, TaskInput>): InputTree {
    const { hash } = result
    if (!('packed' in result)) {
      needed.set(hash, { key: hash, load: () => this.#packedOf(result.value) })
      return hash
    }
    const { packed, place } = result
    if (isBranches(packed)) return packed.map((branch) => this.#treeOf(branch, needed))
    const store = this.#store
    const stored = place && store ? { place: { store, ...place } } : {}
    needed.set(hash, { key: hash, load: () => packed.bytes(), ...stored })
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
