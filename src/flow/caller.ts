/** The port between a run and what calls the functions of its targets with packed inputs, and the
 *  implementation that calls them in this process. See rfc/24, rule 18.
 *  Invariant: a caller knows nothing of claims and of the store. It gets packed inputs, and answers
 *  with the packed result. */

import type { FlowWorkers, FlowWorkerView, WorkerCallFacts } from '../api/flow.js'
import type { Kvs } from '../api/kvs.js'
import type { Packed } from '../api/value.js'
import type { Print } from '../eventlog/stdio.js'
import type { TargetCall } from './calls.js'
import type { Step } from './graph.js'
import { codecOf } from './in-process.js'
import {
  type BranchElement,
  isBranches,
  type KeptResult,
  type PackedResults,
} from './packed-results.js'
import { follow, resultSlotsOf } from './plan.js'

/** Calls the functions of targets. */
export interface Caller {
  /** Calls the function of a step, and returns its packed result. Throws what the function throws. */
  call(step: Step, inputs: readonly KeptResult[], ports: CallerPorts): Promise<CalledValue>
}

/** The packed result of a call. */
export type CalledValue = {
  readonly packed: Packed<unknown>
  /** The place where a worker has stored it, in the store of the run. */
  readonly placed?: PlacedResult
}

/** A packed result that a worker has stored. Whoever has it releases it: then it is removed there. */
export type PlacedResult = StoredPlace & {
  /** The BLAKE3 of the packed bytes, 64 hex digits. */
  readonly hash: string
  readonly release: () => void
}

/** Packed bytes at a key of a store. */
export type StoredPlace = {
  readonly store: Kvs
  readonly key: string
  readonly namespace: string
  /** The root at which they stand there. Default: the newest one. */
  readonly at?: number
  readonly size: number
}

/** Gives back what a call returned that nobody needs. */
export function dropCalled({ packed, placed }: CalledValue): void {
  packed[Symbol.dispose]()
  placed?.release()
}

/** The ports of a call. */
export type CallerPorts = {
  /** Its signal ends the call. */
  readonly call: TargetCall
  /** Says that the function is called now. Called again if it is called again, elsewhere. */
  readonly begin: () => void
  /** Says that the function has returned: others may be called while its result is stored. `ms`: the
   *  time that it took; `facts`: its parts, where they are known. */
  readonly returned: (ms: number, facts?: WorkerCallFacts) => void
  /** Says that what had begun the call is gone, and that it is called again. */
  readonly lost?: () => void
  /** Says that nobody who is there now can call it: it waits until one joins. */
  readonly waits?: () => void
  /** Says that a worker is not asked any more, since it has other code, and why. */
  readonly refused?: (worker: string, error: unknown) => void
}

/** The times of one call that a worker knows. */
export type CallTimes = Pick<WorkerCallFacts, 'unpackMs' | 'runMs' | 'packMs'>

/** A result as a call gets it: the key of its packed bytes; for a map or cross those of its branches. */
export type InputTree = string | readonly InputTree[]

/** A call as it is sent to another process. */
export type PackedTask = {
  /** The name of the target, as its module exports it. */
  readonly target: string
  /** The hashes of its function and of its module, 64 hex digits each. */
  readonly function: string
  readonly module: string
  /** The plans of what the function gets behind the elements, by `node:v8`. */
  readonly plans: Uint8Array
  /** True if the run keeps what the function prints. */
  readonly keepsOutput: boolean
  /** The slots of the sources whose results the function gets packed. */
  readonly packed: readonly number[]
  /** The results that it needs, by slots. */
  readonly inputs: readonly (readonly [slot: number, tree: InputTree])[]
  readonly elements: readonly InputTree[]
}

/** Packed bytes that a call needs. Two of one key are equal. */
export type TaskInput = {
  readonly key: string
  /** The place where a store has them, for workers that reach it. */
  readonly place?: StoredPlace
  /** Returns the bytes, which nobody changes. */
  readonly load: () => Promise<Uint8Array>
}

/** A call for a pool, with what it needs. */
export type PooledCall = {
  readonly task: PackedTask
  /** The label of the workers that may call it; undefined: all may. */
  readonly label: string | undefined
  readonly inputs: readonly TaskInput[]
  /** Ends the call. */
  readonly signal: AbortSignal
  readonly begin: () => void
  /** Says that the worker that had begun the call is gone: it is called again elsewhere. */
  readonly lost: () => void
  /** Says that no worker that is there now takes the call: it waits until one joins. */
  readonly waits: () => void
  /** Takes what the call prints. */
  readonly print: Print
  /** Says that a worker is not asked any more, since it has other code, and why. */
  readonly refused: (worker: string, error: unknown) => void
  /** Says that the call fails since it killed too many workers: it is not made again. */
  readonly poisoned: () => void
}

/** The answer to a call: packed bytes, or the place where the worker has stored them. */
export type PooledAnswer = {
  readonly result: Uint8Array | PlacedResult
  readonly facts: WorkerCallFacts
}

/** The port of workers. */
export abstract class CallPool implements FlowWorkers {
  readonly type = 'workers'
  /** The number of calls that it takes now: those that run, and some that are sent ahead. */
  abstract readonly places: number
  /** Resolves once it knows which workers there are at first. */
  abstract readonly opened: Promise<void>
  /** False if no worker can ever have the label. */
  abstract isKnown(label: string): boolean
  /** Returns how many of its places are at workers with the label. */
  abstract placesOf(label: string): number
  /** Calls `run` when there may be more places, until the returned function is called. */
  abstract onPlaces(run: () => void): () => void
  /** Calls a function. Throws what the function throws; EIO if three workers that had it in hand ended
   *  before it did, or if no worker can start. */
  abstract call(call: PooledCall): Promise<PooledAnswer>
  abstract list(): readonly FlowWorkerView[]
  abstract [Symbol.asyncDispose](): Promise<void>
}

/** Calls functions in this process. */
export class LocalCaller implements Caller {
  readonly #results: PackedResults

  constructor(results: PackedResults) {
    this.#results = results
  }

  async call(
    step: Step,
    inputs: readonly KeptResult[],
    { call, begin, returned }: CallerPorts,
  ): Promise<CalledValue> {
    begin()
    const began = performance.now()
    const value = await this.#run(step, inputs, call)
    returned(performance.now() - began)
    return { packed: await this.#results.values.pack(value ?? null, codecOf(value)) }
  }

  /** Calls the function of a step with what it gets. */
  async #run(step: Step, inputs: readonly KeptResult[], call: TargetCall): Promise<unknown> {
    const { target } = step
    const elements = step.elements as readonly BranchElement[]
    const branches = elements.flatMap((each) => ('packed' in each ? [each] : []))
    const slots = [...new Set(target.inputs.flatMap(resultSlotsOf))]
    const needed = [...branches, ...slots.map((slot) => inputs[slot] as KeptResult)]
    const packed: Packed<unknown>[] = []
    const packedHere: Packed<unknown>[] = []
    try {
      // Before the others are opened, since who has memory waits for none.
      for (const slot of target.packed) {
        const { packed: result } = inputs[slot] as KeptResult
        packed[slot] = isBranches(result) ? await this.#results.packAll(result) : result
        if (isBranches(result)) packedHere.push(packed[slot])
      }
      return await this.#results.withOpened(needed, (...values) => {
        const given = elements.map((each) => ('packed' in each ? values.shift() : each.value))
        const results: unknown[] = []
        for (const slot of slots) results[slot] = values.shift()
        for (const plan of target.inputs) given.push(follow(plan, results, packed))
        return call.run(target.fn, given)
      })
    } finally {
      for (const each of packedHere) each[Symbol.dispose]()
    }
  }
}
