/** An engine behind a bad network: commits turn at random into time-outs before and after, late
 *  answers and refusals of what was stored. For every room's tests. See rfc/4.
 *  Invariant: it lies about answers only; what the inner engine holds is the truth. */

import { setImmediate } from 'node:timers/promises'
import type { Blob } from '../../src/blob/blob.js'
import type { Blobref } from '../../src/blob/blobref.js'
import type {
  Collection,
  Engine,
  FileDamage,
  Head,
  Namespace,
  Outcome,
  Part,
  Rewritten,
  Root,
  Supports,
} from '../../src/engine/engine.js'
import { TailraceError } from '../../src/error.js'

/** A commit meets at most this many faults in a row, so that a caller with more tries gets through. */
export const faultsInRowMax = 3

const fates = ['before', 'after', 'vanished', 'refused', 'late'] as const
export type Fault = (typeof fates)[number]
type Fate = Fault | 'plain'

export type FlakyOptions = {
  /** The same seed gives the same faults. */
  readonly seed?: number
  /** Of 1: how many commits meet a fault. */
  readonly rate?: number
  /** Of 1: how many steps of a collection fail, with nothing freed (default: none). */
  readonly stepRate?: number
  /** More faults in a row than a caller has tries (default: `faultsInRowMax`) leave outcomes unknown. */
  readonly inRowMax?: number
  /** The faults that it meets (default: all). */
  readonly faults?: readonly Fault[]
}

export class FlakyEngine implements Engine {
  readonly #inner: Engine
  readonly #random: () => number
  readonly #rate: number
  readonly #stepRate: number
  readonly #inRowMax: number
  readonly #fates: readonly Fault[]
  #inRow = 0
  #faults = 0

  constructor(inner: Engine, options?: FlakyOptions) {
    this.#inner = inner
    this.#random = mulberry32(options?.seed ?? 1)
    this.#rate = options?.rate ?? 0.5
    this.#stepRate = options?.stepRate ?? 0
    this.#fates = options?.faults ?? fates
    this.#inRowMax = options?.inRowMax ?? faultsInRowMax
  }

  /** How many commits met a fault so far. */
  get faults(): number {
    return this.#faults
  }

  get supports(): Supports {
    return this.#inner.supports
  }

  get storeId(): string {
    return this.#inner.storeId
  }

  async commit(parts: readonly Part[]): Promise<Outcome[]> {
    const fate = this.#fate()
    if (fate === 'before') return parts.map(() => timeout('no'))
    if (fate === 'vanished') return parts.map(() => timeout('unknown'))
    const outcomes = await this.#inner.commit(parts)
    if (fate === 'plain') return outcomes
    if (fate === 'after') return outcomes.map(() => timeout('unknown'))
    if (fate === 'refused') return Promise.all(outcomes.map((o, i) => this.#refuse(o, parts[i])))
    for (let turn = this.#random() * 8; turn > 0; turn--) await setImmediate()
    return outcomes
  }

  put(blobs: readonly Blob[]): Promise<void> {
    return this.#inner.put(blobs)
  }

  load(refs: readonly Blobref[]): Promise<(Uint8Array | undefined)[]> {
    return this.#inner.load(refs)
  }

  has(refs: readonly Blobref[]): Promise<boolean[]> {
    return this.#inner.has(refs)
  }

  diskSize(): Promise<number | undefined> {
    return this.#inner.diskSize()
  }

  get stored(): number {
    return this.#inner.stored
  }

  checkFiles(options: { readonly repair: boolean }): Promise<readonly FileDamage[]> {
    return this.#inner.checkFiles(options)
  }

  beginCollection(): Collection {
    const inner = this.#inner.beginCollection()
    return {
      step: async (step) => {
        if (this.#stepRate > 0 && this.#random() < this.#stepRate) {
          this.#faults++
          throw new TailraceError('EIO', 'the step was not stored')
        }
        return inner.step(step)
      },
      settle: () => inner.settle(),
      turn: () => inner.turn(),
      [Symbol.dispose]: () => inner[Symbol.dispose](),
    }
  }

  rewrite(
    namespace: string,
    incarnation: string,
    roots: readonly Rewritten[],
    blobs: readonly Blob[],
  ): Promise<void> {
    return this.#inner.rewrite(namespace, incarnation, roots, blobs)
  }

  root(namespace: string): Promise<Head | undefined> {
    return this.#inner.root(namespace)
  }

  roots(): Promise<Head[]> {
    return this.#inner.roots()
  }

  create(namespace: Namespace, root: Root, blobs: readonly Blob[]): Promise<Head> {
    return this.#inner.create(namespace, root, blobs)
  }

  remove(namespace: string, incarnation: string): Promise<void> {
    return this.#inner.remove(namespace, incarnation)
  }

  history(namespace: string, after: number): AsyncIterable<Root> {
    return this.#inner.history(namespace, after)
  }

  watch(signal: AbortSignal): AsyncIterable<void> {
    return this.#inner.watch(signal)
  }

  lead(namespace: string, owner: string, ttlMs: number): Promise<number> {
    return this.#inner.lead(namespace, owner, ttlMs)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inner[Symbol.asyncDispose]()
  }

  #fate(): Fate {
    if (this.#inRow >= this.#inRowMax || this.#random() >= this.#rate) {
      this.#inRow = 0
      return 'plain'
    }
    this.#inRow++
    this.#faults++
    return this.#fates[Math.floor(this.#random() * this.#fates.length)] ?? 'plain'
  }

  /** A conflict although the part was stored; the head shows its `tx`. */
  async #refuse(outcome: Outcome, part: Part | undefined): Promise<Outcome> {
    if (outcome.status !== 'applied' || !part) return outcome
    const head = await this.#inner.root(part.namespace)
    return head?.root.tx === part.root.tx ? { status: 'conflict', head } : outcome
  }
}

function timeout(applied: 'no' | 'unknown'): Outcome {
  const error = new TailraceError('ETIMEDOUT', 'no answer in time: send the same commit again')
  return { status: 'unavailable', applied, error }
}

/** A small seeded generator: numbers from 0 to below 1. */
export function mulberry32(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
