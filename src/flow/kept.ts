/** The maker of runs with a store: results are found in its cache, and published there. See rfc/24,
 *  rules 15 to 18.
 *  Invariant: a result is known by its hash, and stays packed until a function needs it. A function
 *  runs under the claim of its action, so that no other process runs it meanwhile. */

import { type Cache, type Claim, type Hit, onlyOutput, type StoredOutput } from '../api/cache.js'
import type { WorkerCallFacts } from '../api/flow.js'
import type { Store } from '../api/store.js'
import type { PackedValues } from '../api/value.js'
import { pack } from '../cache/packing.js'
import { storedBytes } from '../cache/record.js'
import { type Code, isCode, TailraceError } from '../error.js'
import type { Print } from '../eventlog/stdio.js'
import { actionOf, type TargetAction } from './action.js'
import { type CalledValue, type Caller, dropCalled, LocalCaller } from './caller.js'
import { type ClaimedStep, ClaimsAhead, claimTtlMs } from './claims-ahead.js'
import type { RunCodes } from './codes.js'
import type { FailedOf } from './failed.js'
import { InputHashes } from './file-input.js'
import type { Step } from './graph.js'
import type { MadeOf } from './made.js'
import {
  type CallPorts,
  FoundResult,
  type Look,
  type Made,
  type Maker,
  ParkedStep,
} from './maker.js'
import { hexHashOf } from './modules.js'
import { type BranchElement, hashOf, type KeptResult, PackedResults } from './packed-results.js'

/** The output that has the hash of a result whose bytes do not stand in the record. */
const hashOutput = 'hash'
/** The largest size of a result that is published as bytes, which a record may hold. */
const smallSizeMax = 8 * 1024
/** The most results that are stored while their places are given to others. */
const publishesMax = 256
/** The number of times that a target may lose its claim while its function runs. */
const lossesMax = 10
/** Codes of a publish whose claim was lost. */
const lost: readonly Code[] = ['EFENCED', 'EUNKNOWN']

export type KeptPorts = {
  readonly store: Store
  readonly cache: Cache
  readonly values: PackedValues
  readonly codes: RunCodes
  /** The most calls of the run at the same time, at any moment. */
  readonly bounds: { readonly concurrency: number }
  /** Default: functions are called in this process. */
  readonly caller?: Caller
  /** Hears of the action and the hash of each result that is found or made. */
  readonly made: (step: Step, of: MadeOf) => void
  /** Hears of each failed call, before the run does, with the results that it was given. */
  readonly failed?: (
    step: Step,
    of: FailedOf,
    inputs: readonly KeptResult[],
  ) => void | Promise<void>
  /** Takes what calls print. Default: the streams of this process. */
  readonly print?: (step: Step, ...printed: Parameters<Print>) => void
  /** True for a step that is called though its result is there. Default: none. */
  readonly again?: (step: Step) => boolean
}

/** The maker. Mutable; owned by its run. */
export class KeptMaker implements Maker<KeptResult> {
  readonly #ports: KeptPorts
  readonly #results: PackedResults
  readonly #caller: Caller
  readonly #ahead: ClaimsAhead
  #publishing = 0
  readonly #losses = new Map<Step, number>()
  /** The hashes of the files that the actions of the run have. */
  readonly files = new InputHashes()

  constructor(ports: KeptPorts) {
    this.#ports = ports
    this.#results = new PackedResults(ports.values)
    this.#ahead = new ClaimsAhead(ports.cache, ports.bounds)
    this.#caller = ports.caller ?? new LocalCaller(this.#results)
  }

  async look(step: Step, inputs: readonly KeptResult[]): Promise<Look<KeptResult>> {
    if (this.#isAgain(step)) return undefined
    const action = await this.actionOf(step, inputs)
    // A step that has to wait for a worker of its label keeps no claim from other runs meanwhile.
    if (step.target.label !== undefined) return this.lookFor(step, action)
    if (!this.#ahead.hasRoom) {
      const found = await this.lookFor(step, action)
      if (!found) this.#ahead.miss(step, action)
      return found
    }
    return this.#ahead.during(async () => {
      const got = await this.#ports.cache.claim(action, { wait: 'skip', ttl: claimTtlMs })
      if (got.type === 'busy') return new ParkedStep(got.result)
      if (got.type === 'hit') return { value: await this.#found(step, action, got) }
      this.#ahead.keep(step, { claim: got, action })
      return undefined
    })
  }

  /** Looks for the result of the action of a step. */
  async lookFor(step: Step, action: TargetAction): Promise<Look<KeptResult>> {
    const hit = await this.#ports.cache.load(action)
    return hit && { value: await this.#found(step, action, hit) }
  }

  async make(
    step: Step,
    inputs: readonly KeptResult[],
    { call, begin, returned, lost: isLost, ...more }: CallPorts,
  ): Promise<Made<KeptResult>> {
    const got = (await this.#ahead.take(step)) ?? (await this.#claim(step, inputs, call.signal))
    if (!('claim' in got)) return got
    const { action } = got
    await using claim = got.claim
    if (claim.signal.aborted) return this.#lost(step, claim.signal.reason)
    call.follow(claim.signal)
    const { print } = this.#ports
    if (print) call.printTo((stream, bytes) => print(step, stream, bytes))
    let tookMs: number | undefined
    let isReturned = false
    let hasEnded = false
    let isPlaced = false
    const hasReturned = (ms: number, facts?: WorkerCallFacts) => {
      call.returned(ms)
      // A function that nobody waits for any more may still return.
      if (hasEnded) return
      isReturned = true
      tookMs = ms
      this.#ahead.note(ms)
      // Others run while this one is stored.
      if (this.#publishing++ < publishesMax) returned(ms, facts)
    }
    try {
      const began = () => {
        claim.begin()
        begin()
      }
      const ports = { call, begin: began, returned: hasReturned, lost: isLost, ...more }
      const called = await call.within(() => this.#caller.call(step, inputs, ports), dropCalled)
      isPlaced = called.placed !== undefined
      await this.#checkFiles(step, inputs, claim.id).catch((error: unknown) => {
        dropCalled(called)
        throw error
      })
      const { kept, hit } = await this.#publish(claim, called)
      this.#tell(step, action, kept, hit, tookMs)
      return kept
    } catch (error) {
      // A function may throw these codes for reasons of its own.
      const codes = isPlaced ? [...lost, 'ENOENT' as const] : lost
      const isRefused = isReturned && codes.some((code) => isCode(error, code))
      if (!call.isOver && (isRefused || claim.signal.aborted)) return this.#lost(step, error)
      const of = { id: claim.id, action, ...inputsOf(step, inputs) }
      await this.#ports.failed?.(step, of, inputs)
      throw error
    } finally {
      hasEnded = true
      if (isReturned) this.#publishing--
    }
  }

  end(): Promise<void> {
    return this.#ahead.end()
  }

  async #claim(
    step: Step,
    inputs: readonly KeptResult[],
    signal: AbortSignal,
  ): Promise<ClaimedStep | FoundResult<KeptResult> | ParkedStep> {
    const action = await this.actionOf(step, inputs)
    if (this.#isAgain(step)) return this.#claimAgain(step, action, signal)
    const got = await this.#ports.cache.claim(action, { wait: 'skip', ttl: claimTtlMs, signal })
    if (got.type === 'busy') return new ParkedStep(got.result)
    if (got.type === 'hit') return new FoundResult(await this.#found(step, action, got))
    return { claim: got, action }
  }

  #isAgain(step: Step): boolean {
    return this.#ports.again?.(step) === true
  }

  /** Claims an action whatever its result is. If somebody else has the claim, the step waits for it
   *  without a place. */
  async #claimAgain(
    step: Step,
    action: TargetAction,
    signal: AbortSignal,
  ): Promise<ClaimedStep | ParkedStep> {
    const { cache } = this.#ports
    const way = { ttl: claimTtlMs, warn: false }
    try {
      return { claim: await cache.rerun(action, { ...way, wait: 'fail', signal }), action }
    } catch (error) {
      if (!isCode(error, 'ECONFLICT')) throw error
    }
    const claiming = cache.rerun(action, { ...way, signal: this.#ahead.ending })
    const claimed = claiming.then((claim) => {
      if (this.#ahead.ending.aborted) return claim.abandon()
      this.#ahead.keep(step, { claim, action })
      return undefined
    })
    return new ParkedStep(claimed)
  }

  /** Lets a step be looked for again whose claim was lost. Throws the reason if that was so too
   *  often. */
  #lost(step: Step, reason: unknown): ParkedStep {
    const losses = (this.#losses.get(step) ?? 0) + 1
    if (losses > lossesMax) throw reason
    this.#losses.set(step, losses)
    return new ParkedStep(Promise.resolve())
  }

  arraysOf(step: Step, inputs: readonly KeptResult[]) {
    return this.#results.arraysOf(step, inputs)
  }

  gather(_step: Step, branches: readonly KeptResult[]): KeptResult {
    return this.#results.gather(branches)
  }

  async nothing(): Promise<KeptResult> {
    const packed = await this.#ports.values.pack(null)
    return { hash: await hashOf(packed), packed }
  }

  /** Throws ECONFLICT if a file was changed while the function ran that got its path. */
  async #checkFiles(step: Step, inputs: readonly KeptResult[], id: string): Promise<void> {
    const { files } = step.target
    if (files.length === 0) return
    const after = await this.actionOf(step, inputs)
    if (hexHashOf(pack(after, 'an action')) === id) return
    const message = `a file of target ${step.name} was changed while it was made: one of ${files.slice(0, 10).join(', ')}`
    throw new TailraceError('ECONFLICT', message)
  }

  drop(result: KeptResult): void {
    this.#results.drop(result)
  }

  /** Returns the action of a step. Throws what `RunCodes.of` throws. */
  async actionOf({ target, elements }: Step, inputs: readonly KeptResult[]): Promise<TargetAction> {
    const code = await this.#ports.codes.of(target.fn)
    const hashes = inputs.map(({ hash }) => hash)
    const ofElements = (elements as readonly BranchElement[]).map(({ hash }) => hash)
    const files = new Map<string, string>()
    for (const path of target.files) files.set(path, await this.files.read(path))
    return actionOf(target, code, hashes, ofElements, files)
  }

  /** Opens results; see `PackedResults`. */
  opened(results: readonly (KeptResult | undefined)[]): Promise<readonly unknown[]> {
    return this.#results.opened(results)
  }

  async #found(step: Step, action: TargetAction, hit: Hit): Promise<KeptResult> {
    const result = await this.#resultOf(hit)
    this.#tell(step, action, result, hit)
    return result
  }

  /** `ms`: the time that the call took, if it was made here. */
  #tell(
    step: Step,
    action: TargetAction,
    { hash }: KeptResult,
    { result }: Hit,
    ms = result.tookMs,
  ): void {
    this.#ports.made(step, { id: result.id, action, hash, ms })
  }

  async #resultOf(hit: Hit): Promise<KeptResult> {
    const { store, values } = this.#ports
    const { id } = hit.result
    const place = hit.place()
    if (!place) {
      const bytes = await hit.get()
      return { hash: hexHashOf(bytes), packed: await values.of(bytes), id }
    }
    const hash = Buffer.from(await hit.get(hashOutput)).toString()
    return { hash, packed: values.from(store, place.key, scopeOf(place)), id, ...placeOf(hit) }
  }

  async #publish(
    claim: Claim,
    { packed, placed }: CalledValue,
  ): Promise<{ readonly kept: KeptResult; readonly hit: Hit }> {
    const { store, values } = this.#ports
    const { id } = claim
    const keptAt = (hash: string, hit: Hit) => {
      const { key = '', ...scope } = hit.place() ?? {}
      return { kept: { hash, packed: values.from(store, key, scope), id, ...placeOf(hit) }, hit }
    }
    if (placed) {
      const { key, namespace, size, hash } = placed
      try {
        // By reference: the bytes do not pass this process.
        const value = storedBytes({ key, namespace, size })
        return keptAt(hash, await claim.publish({ [onlyOutput]: value, [hashOutput]: hash }))
      } finally {
        placed.release()
      }
    }
    if ((packed.size ?? 0) <= smallSizeMax) {
      const bytes = await packed.bytes()
      return { kept: { hash: hexHashOf(bytes), packed, id }, hit: await claim.publish(bytes) }
    }
    // The store has it then, so that its memory can be given back.
    using large = packed
    const hash = await hashOf(large)
    const hit = await claim.publish({ [onlyOutput]: large.stream(), [hashOutput]: hash })
    return keptAt(hash, hit)
  }
}

/** Returns the place of a result whose bytes do not stand in the record. */
function placeOf(hit: Hit): Pick<KeptResult, 'place'> {
  const place = hit.place()
  const size = hit.result.outputs[onlyOutput]?.size
  return place && size !== undefined ? { place: { ...place, size } } : {}
}

function scopeOf({ namespace, at }: StoredOutput) {
  return { namespace, at }
}

/** Returns what a failed call tells of its inputs. */
function inputsOf(
  { sources, target, of }: Step,
  results: readonly KeptResult[],
): Pick<FailedOf, 'inputs' | 'arrays'> {
  const told = sources.map(({ name }, at) => {
    const { hash = '', id } = results[at] ?? {}
    return [name, { hash, ...(id !== undefined && { id }) }] as const
  })
  const inputs = Object.fromEntries(told)
  return of
    ? { inputs, arrays: target.arrays.map((slot) => sources[slot]?.name ?? '') }
    : { inputs }
}
