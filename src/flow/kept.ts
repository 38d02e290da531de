/** The maker of runs with a store: results are found in its cache, and published there. See rfc/24,
 *  rules 15 to 18.
 *  Invariant: a result is known by its hash, and stays packed until a function needs it. A function
 *  runs under the claim of its action, so that no other process runs it meanwhile. */

import { type Cache, type Claim, type Hit, onlyOutput } from '../api/cache.js'
import type { Store } from '../api/store.js'
import type { Packed, PackedValues } from '../api/value.js'
import { eitherSignal } from '../base/abort.js'
import { invalid } from '../base/shape.js'
import { StreamHash } from '../blob/hash.js'
import { type Code, isCode } from '../error.js'
import { actionOf, hashOfBranches, type TargetAction } from './action.js'
import { TargetCall } from './calls.js'
import type { RunCodes } from './codes.js'
import { FoundResult, type Look, type Made, type Maker, ParkedStep } from './drive.js'
import type { Step } from './graph.js'
import { codecOf } from './in-process.js'
import { hexHashOf } from './modules.js'
import { follow, resultSlotsOf } from './plan.js'

/** The output that has the hash of a result whose bytes do not stand in the record. */
const hashOutput = 'hash'
/** The largest size of a result that is published as bytes, which a record may hold. */
const smallSizeMax = 8 * 1024
/** The size of the pieces in which packed bytes are hashed. */
const pieceSize = 1024 * 1024
/** The number of times that a target may lose its claim while its function runs. */
const lossesMax = 10
/** Codes of a publish whose claim was lost. */
const lost: readonly Code[] = ['EFENCED', 'EUNKNOWN']

/** A result: its hash, and its packed value; for a map or cross the results of its branches. */
export type KeptResult = {
  readonly hash: string
  readonly packed: Packed<unknown> | readonly KeptResult[]
}

/** An element of an opened array, and its hash. */
type OpenedElement = { readonly hash: string; readonly value: unknown }

/** Facts of a result that the record of its target tells. */
export type MadeOf = {
  /** The id of the action in the cache. */
  readonly id: string
  readonly action: TargetAction
  readonly hash: string
  /** The time from the claim to the publish, in ms. */
  readonly ms: number
}

export type KeptPorts = {
  readonly store: Store
  readonly cache: Cache
  readonly values: PackedValues
  readonly codes: RunCodes
  /** Hears of the action and the hash of each result that is found or made. */
  readonly made: (step: Step, of: MadeOf) => void
}

/** The maker. Mutable; owned by its run. */
export class KeptMaker implements Maker<KeptResult> {
  readonly #ports: KeptPorts
  /** The actions of steps that were looked for and are not there. */
  readonly #actions = new Map<Step, TargetAction>()
  readonly #losses = new Map<Step, number>()

  constructor(ports: KeptPorts) {
    this.#ports = ports
  }

  async look(step: Step, inputs: readonly KeptResult[]): Promise<Look<KeptResult>> {
    return await this.lookFor(step, await this.actionOf(step, inputs))
  }

  /** Looks for the result of the action of a step. */
  async lookFor(step: Step, action: TargetAction): Promise<Look<KeptResult>> {
    const hit = await this.#ports.cache.load(action)
    if (hit) return { value: await this.#found(step, action, hit) }
    this.#actions.set(step, action)
    return undefined
  }

  async make(
    step: Step,
    inputs: readonly KeptResult[],
    { signal }: TargetCall,
    begin: () => void,
  ): Promise<Made<KeptResult>> {
    const action = this.#actions.get(step) ?? (await this.actionOf(step, inputs))
    this.#actions.delete(step)
    const got = await this.#ports.cache.claim(action, { wait: 'skip', signal })
    if (got.type === 'busy') return new ParkedStep(got.result)
    if (got.type === 'hit') return new FoundResult(await this.#found(step, action, got))
    await using claim = got
    const both = eitherSignal(signal, claim.signal)
    const call = new TargetCall(both.signal)
    try {
      begin()
      const result = await this.#call(step, inputs, call)
      const { kept, hit } = await this.#publish(claim, result)
      this.#tell(step, action, kept, hit)
      return kept
    } catch (error) {
      const isLost = claim.signal.aborted || lost.some((code) => isCode(error, code))
      const losses = (this.#losses.get(step) ?? 0) + 1
      if (!isLost || signal.aborted || losses > lossesMax) throw error
      this.#losses.set(step, losses)
      return new ParkedStep(Promise.resolve())
    } finally {
      call.end()
      both.end()
    }
  }

  async arraysOf(
    step: Step,
    inputs: readonly KeptResult[],
  ): Promise<readonly (readonly (KeptResult | OpenedElement)[])[]> {
    const arrays: (readonly (KeptResult | OpenedElement)[])[] = []
    for (const slot of step.target.arrays) {
      const { packed } = inputs[slot] as KeptResult
      arrays.push(isBranches(packed) ? packed : await this.#elementsOf(step, slot, packed))
    }
    return arrays
  }

  gather(_step: Step, branches: readonly KeptResult[]): KeptResult {
    return { hash: hashOfBranches(branches.map(({ hash }) => hash)), packed: branches }
  }

  drop({ packed }: KeptResult): void {
    if (isBranches(packed)) for (const branch of packed) this.drop(branch)
    else packed[Symbol.dispose]()
  }

  /** Returns the action of a step. Throws what `RunCodes.of` throws. */
  async actionOf({ target, elements }: Step, inputs: readonly KeptResult[]): Promise<TargetAction> {
    const code = await this.#ports.codes.of(target.fn)
    const hashes = inputs.map(({ hash }) => hash)
    const ofElements = (elements as readonly { readonly hash: string }[]).map(({ hash }) => hash)
    return actionOf(target, code, hashes, ofElements)
  }

  /** Opens results, and returns their values as nobody changes them. */
  opened(results: readonly KeptResult[]): Promise<readonly unknown[]> {
    return this.#withOpened(results, (...values) => values)
  }

  async #found(step: Step, action: TargetAction, hit: Hit): Promise<KeptResult> {
    const result = await this.#resultOf(hit)
    this.#tell(step, action, result, hit)
    return result
  }

  #tell(step: Step, action: TargetAction, { hash }: KeptResult, { result }: Hit): void {
    this.#ports.made(step, { id: result.id, action, hash, ms: result.tookMs })
  }

  async #resultOf(hit: Hit): Promise<KeptResult> {
    const { store, values } = this.#ports
    const place = hit.place()
    if (!place) {
      const bytes = await hit.get()
      return { hash: hexHashOf(bytes), packed: await values.of(bytes) }
    }
    const hash = Buffer.from(await hit.get(hashOutput)).toString()
    const { key, ...scope } = place
    return { hash, packed: values.from(store, key, scope) }
  }

  /** Calls the function of a step with what it gets. */
  async #call(step: Step, inputs: readonly KeptResult[], call: TargetCall): Promise<unknown> {
    const { target } = step
    const elements = step.elements as readonly (KeptResult | OpenedElement)[]
    const branches = elements.flatMap((each) => ('packed' in each ? [each] : []))
    const slots = [...new Set(target.inputs.flatMap(resultSlotsOf))]
    const needed = [...branches, ...slots.map((slot) => inputs[slot] as KeptResult)]
    // Before the others are opened, since who has memory waits for none.
    const packed: Packed<unknown>[] = []
    for (const slot of target.packed)
      packed[slot] = await this.#packedOf(inputs[slot] as KeptResult)
    return this.#withOpened(needed, (...values) => {
      const given = elements.map((each) => ('packed' in each ? values.shift() : each.value))
      const results: unknown[] = []
      for (const slot of slots) results[slot] = values.shift()
      for (const plan of target.inputs) given.push(follow(plan, results, packed))
      return call.run(target.fn, given)
    })
  }

  /** Opens results with one claim on memory, and calls `fn` with their values. */
  #withOpened<R>(
    results: readonly KeptResult[],
    fn: (...values: unknown[]) => R | Promise<R>,
  ): Promise<R> {
    const leaves = results.flatMap(leavesOf)
    return this.#ports.values.useAll(leaves, (...opened) => {
      let next = 0
      const builtOf = ({ packed }: KeptResult): unknown =>
        isBranches(packed) ? packed.map(builtOf) : opened[next++]
      return fn(...results.map(builtOf))
    })
  }

  /** Returns the packed value of a result; that of a map or cross is packed anew. */
  async #packedOf(result: KeptResult): Promise<Packed<unknown>> {
    if (!isBranches(result.packed)) return result.packed
    return this.#withOpened([result], (array) => this.#ports.values.pack(array))
  }

  async #publish(
    claim: Claim,
    result: unknown,
  ): Promise<{ readonly kept: KeptResult; readonly hit: Hit }> {
    const { store, values } = this.#ports
    const packed = await values.pack(result ?? null, codecOf(result))
    if ((packed.size ?? 0) <= smallSizeMax) {
      const bytes = await packed.bytes()
      return { kept: { hash: hexHashOf(bytes), packed }, hit: await claim.publish(bytes) }
    }
    // The store has it then, so that its memory can be given back.
    using large = packed
    const hash = await hashOf(large)
    const hit = await claim.publish({ [onlyOutput]: large.stream(), [hashOutput]: hash })
    const { key = '', ...scope } = hit.place() ?? {}
    return { kept: { hash, packed: values.from(store, key, scope) }, hit }
  }

  /** Opens an array whose elements branches go through. */
  async #elementsOf(
    { target, sources }: Step,
    slot: number,
    packed: Packed<unknown>,
  ): Promise<readonly OpenedElement[]> {
    const { values } = this.#ports
    return packed.use(async (array) => {
      if (!Array.isArray(array)) {
        throw invalid(
          `the result of ${sources[slot]?.name}, which ${target.name} goes through, is no array`,
        )
      }
      const elements: OpenedElement[] = []
      for (const value of array) {
        using element = await values.pack(value)
        elements.push({ hash: await hashOf(element), value })
      }
      return elements
    })
  }
}

function isBranches(packed: KeptResult['packed']): packed is readonly KeptResult[] {
  return Array.isArray(packed)
}

/** Returns the packed values that a result is made of. */
function leavesOf({ packed }: KeptResult): readonly Packed<unknown>[] {
  return isBranches(packed) ? packed.flatMap(leavesOf) : [packed]
}

/** Returns the hash of packed bytes. */
async function hashOf(packed: Packed<unknown>): Promise<string> {
  using hash = new StreamHash()
  for await (const chunk of packed.stream()) {
    for (let at = 0; at < chunk.length; at += pieceSize) {
      hash.update(chunk.subarray(at, at + pieceSize))
    }
  }
  return hash.digest().toString('hex')
}
