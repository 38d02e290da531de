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
import type { Step } from './graph.js'
import { codecOf } from './in-process.js'
import {
  type CallPorts,
  FoundResult,
  type Look,
  type Made,
  type Maker,
  ParkedStep,
} from './maker.js'
import { hexHashOf } from './modules.js'
import { follow, resultSlotsOf } from './plan.js'

/** The output that has the hash of a result whose bytes do not stand in the record. */
const hashOutput = 'hash'
/** The largest size of a result that is published as bytes, which a record may hold. */
const smallSizeMax = 8 * 1024
/** The size of the pieces in which packed bytes are hashed. */
const pieceSize = 1024 * 1024
/** The time after which others make the targets of a process that was killed, in ms. */
const claimTtlMs = 10_000
/** The most claims that wait for a place, and the time in which they should get one, in ms. */
const [aheadMax, aheadMs] = [256, 100]
/** The share of the newest call in the mean time of calls. */
const meanShare = 0.1
/** The most results that are stored while their places are given to others. */
const publishesMax = 256
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

/** The claim of a step, and its action. */
type ClaimedStep = { readonly claim: Claim; readonly action: TargetAction }

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
  /** The most calls of the run at the same time. */
  readonly concurrency: number
  /** Hears of the action and the hash of each result that is found or made. */
  readonly made: (step: Step, of: MadeOf) => void
}

/** The maker. Mutable; owned by its run. */
export class KeptMaker implements Maker<KeptResult> {
  readonly #ports: KeptPorts
  /** The claims of steps that wait for a place. */
  readonly #claims = new Map<Step, ClaimedStep>()
  #claiming = 0
  #publishing = 0
  /** The mean time of the last calls, in ms. */
  #meanMs: number | undefined
  readonly #losses = new Map<Step, number>()

  constructor(ports: KeptPorts) {
    this.#ports = ports
  }

  async look(step: Step, inputs: readonly KeptResult[]): Promise<Look<KeptResult>> {
    const action = await this.actionOf(step, inputs)
    if (this.#claims.size + this.#claiming >= this.#aheadMax) return this.lookFor(step, action)
    this.#claiming++
    try {
      const got = await this.#ports.cache.claim(action, { wait: 'skip', ttl: claimTtlMs })
      if (got.type === 'busy') return new ParkedStep(got.result)
      if (got.type === 'hit') return { value: await this.#found(step, action, got) }
      this.#claims.set(step, { claim: got, action })
      return undefined
    } finally {
      this.#claiming--
    }
  }

  /** Looks for the result of the action of a step. */
  async lookFor(step: Step, action: TargetAction): Promise<Look<KeptResult>> {
    const hit = await this.#ports.cache.load(action)
    return hit && { value: await this.#found(step, action, hit) }
  }

  async make(
    step: Step,
    inputs: readonly KeptResult[],
    { call: { signal }, begin, returned }: CallPorts,
  ): Promise<Made<KeptResult>> {
    const got = this.#claims.get(step) ?? (await this.#claim(step, inputs, signal))
    this.#claims.delete(step)
    if (!('claim' in got)) return got
    const { action } = got
    await using claim = got.claim
    if (claim.signal.aborted) return this.#lost(step, claim.signal.reason)
    const both = eitherSignal(signal, claim.signal)
    const call = new TargetCall(both.signal)
    let hasReturned = false
    try {
      begin()
      const began = performance.now()
      const result = await this.#call(step, inputs, call)
      hasReturned = true
      this.#note(performance.now() - began)
      // Others run while this one is stored.
      if (this.#publishing < publishesMax) returned()
      this.#publishing++
      const publish = this.#publish(claim, result)
      const { kept, hit } = await publish.finally(() => this.#publishing--)
      this.#tell(step, action, kept, hit)
      return kept
    } catch (error) {
      // A function may throw these codes for reasons of its own.
      const isRefused = hasReturned && lost.some((code) => isCode(error, code))
      if (signal.aborted || !(isRefused || claim.signal.aborted)) throw error
      return this.#lost(step, error)
    } finally {
      call.end()
      both.end()
    }
  }

  async end(): Promise<void> {
    await Promise.all([...this.#claims.values()].map(({ claim }) => claim.abandon()))
    this.#claims.clear()
  }

  async #claim(
    step: Step,
    inputs: readonly KeptResult[],
    signal: AbortSignal,
  ): Promise<ClaimedStep | FoundResult<KeptResult> | ParkedStep> {
    const action = await this.actionOf(step, inputs)
    const got = await this.#ports.cache.claim(action, { wait: 'skip', ttl: claimTtlMs, signal })
    if (got.type === 'busy') return new ParkedStep(got.result)
    if (got.type === 'hit') return new FoundResult(await this.#found(step, action, got))
    return { claim: got, action }
  }

  /** Lets a step be looked for again whose claim was lost. Throws the reason if that was so too
   *  often. */
  #lost(step: Step, reason: unknown): ParkedStep {
    const losses = (this.#losses.get(step) ?? 0) + 1
    if (losses > lossesMax) throw reason
    this.#losses.set(step, losses)
    return new ParkedStep(Promise.resolve())
  }

  /** The number of claims that are taken before there is a place for their calls: as many as are
   *  called within `aheadMs`, so that nobody else waits for them for long. */
  get #aheadMax(): number {
    const { concurrency } = this.#ports
    if (this.#meanMs === undefined) return concurrency
    return Math.min(aheadMax, Math.max(concurrency, (concurrency * aheadMs) / this.#meanMs))
  }

  #note(ms: number): void {
    const before = this.#meanMs ?? ms
    this.#meanMs = before + (ms - before) * meanShare
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
    const packed: Packed<unknown>[] = []
    const packedHere: Packed<unknown>[] = []
    try {
      // Before the others are opened, since who has memory waits for none.
      for (const slot of target.packed) {
        const { packed: result } = inputs[slot] as KeptResult
        packed[slot] = isBranches(result) ? await this.#packAll(result) : result
        if (isBranches(result)) packedHere.push(packed[slot])
      }
      return await this.#withOpened(needed, (...values) => {
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

  /** Packs the results of branches as one array. */
  #packAll(branches: readonly KeptResult[]): Promise<Packed<unknown>> {
    return this.#withOpened(branches, (...array) => this.#ports.values.pack(array))
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
