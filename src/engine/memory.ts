/** The memory engine: everything is in maps, and ends with the process. For tests, and for stores
 *  that need no disk. See rfc/4, rule 12.
 *  Invariant: all parts of a commit are applied in one turn of the event loop, each
 *  whole or not at all. */

import { setImmediate } from 'node:timers/promises'
import type { Environment } from '../base/environment.js'
import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import { Collections } from './collections.js'
import {
  type Collection,
  type Engine,
  type FileDamage,
  type Head,
  historyAgeMs,
  historyCount,
  type Namespace,
  type Outcome,
  type Part,
  type Rewritten,
  type Root,
  type Supports,
  type SweepStep,
  type Swept,
  sweepRefsMax,
  sweepStepSize,
} from './engine.js'
import { judge, namesOf } from './judge.js'
import { Leaders } from './leaders.js'
import { Moves } from './moves.js'
import { namespaceExists, noNamespace } from './refusals.js'
import { Spares } from './spares.js'
import { freeSliceMs } from './write-pace.js'

/** The number of roots beyond the bounds of the history that are dropped at a time. */
const trimBatch = 256

/** A namespace. `roots` is its history, the head last, and is never empty. */
type Life = { readonly namespace: Namespace; readonly roots: Root[]; epoch: number }

type Stored = { readonly id: number; readonly bytes: Uint8Array }

/** The engine in memory. */
export class MemoryEngine implements Engine {
  readonly supports: Supports = { durable: false, shared: false }
  readonly storeId: string
  readonly #environment: Environment
  /** The blobs in the order of their ids. */
  readonly #blobs = new Map<Blobref, Stored>()
  #lastId = 0
  #stored = 0
  readonly #lives = new Map<string, Life>()
  readonly #moves = new Moves()
  readonly #leaders: Leaders
  readonly #spares: Spares
  readonly #collections: Collections

  constructor(environment: Environment) {
    this.#environment = environment
    this.#leaders = new Leaders(environment)
    this.#spares = new Spares(environment)
    this.#collections = new Collections(this.#spares)
    this.storeId = environment.id()
  }

  async put(blobs: readonly Blob[]): Promise<void> {
    this.#moves.assertOpen()
    this.#spares.put(blobs.map(({ ref }) => ref))
    this.#store(blobs)
  }

  async has(refs: readonly Blobref[]): Promise<boolean[]> {
    this.#moves.assertOpen()
    this.#spares.put(refs)
    return refs.map((ref) => this.#blobs.has(ref))
  }

  async load(refs: readonly Blobref[]): Promise<(Uint8Array | undefined)[]> {
    this.#moves.assertOpen()
    return refs.map((ref) => this.#blobs.get(ref)?.bytes)
  }

  async commit(parts: readonly Part[]): Promise<Outcome[]> {
    this.#moves.assertOpen()
    namesOf(parts)
    return parts.map((part) => this.#apply(part))
  }

  async root(namespace: string): Promise<Head | undefined> {
    this.#moves.assertOpen()
    const life = this.#lives.get(namespace)
    return life && headOf(life)
  }

  async roots(): Promise<Head[]> {
    this.#moves.assertOpen()
    return [...this.#lives.values()].map(headOf)
  }

  async create(namespace: Namespace, root: Root, blobs: readonly Blob[]): Promise<Head> {
    this.#moves.assertOpen()
    if (this.#lives.has(namespace.name)) {
      throw namespaceExists(namespace.name)
    }
    this.#store(blobs)
    const life: Life = { namespace, roots: [root], epoch: 0 }
    this.#lives.set(namespace.name, life)
    this.#moves.moved()
    return headOf(life)
  }

  async remove(namespace: string, incarnation: string): Promise<void> {
    this.#moves.assertOpen()
    const life = this.#life(namespace)
    if (life.namespace.incarnation !== incarnation) throw noNamespace(namespace)
    this.#lives.delete(namespace)
    this.#leaders.forget(namespace)
    this.#moves.moved()
  }

  async *history(namespace: string, after: number): AsyncIterable<Root> {
    this.#moves.assertOpen()
    // A copy, because the list changes while the caller iterates.
    const roots = this.#life(namespace).roots
    yield* roots.slice(firstAfter(roots, after))
  }

  get stored(): number {
    return this.#stored
  }

  /** Returns 0: deleted blobs are in no file. */
  async diskSize(): Promise<undefined> {
    return undefined
  }

  async checkFiles(): Promise<readonly FileDamage[]> {
    this.#moves.assertOpen()
    return []
  }

  beginCollection(): Collection {
    this.#moves.assertOpen()
    const until = this.#lastId
    let rest = this.#blobs.entries()
    let at = 0
    return this.#collections.begin({
      step: async (step) => {
        this.#moves.assertOpen()
        // The steps share one iterator. A step that goes back begins a new one.
        if (step.after < at) rest = this.#blobs.entries()
        const swept = this.#sweep(rest, until, step)
        at = swept.next ?? until
        return swept
      },
      settle: async () => {},
      turn: async () => {
        await setImmediate()
        return freeSliceMs
      },
    })
  }

  async rewrite(
    namespace: string,
    incarnation: string,
    rewritten: readonly Rewritten[],
    blobs: readonly Blob[],
  ): Promise<void> {
    this.#moves.assertOpen()
    const { namespace: record, roots } = this.#life(namespace)
    if (record.incarnation !== incarnation) throw noNamespace(namespace)
    const places = rewritten.map(({ seq, ref }) => {
      const at = firstAfter(roots, seq - 1)
      const root = roots[at]
      if (root?.seq === seq) return { at, root: { ...root, ref } }
      throw new TailraceError('EINVAL', `there is no root ${seq} of ${namespace}`)
    })
    this.#store(blobs)
    for (const { at, root } of places) roots[at] = root
    this.#moves.moved()
  }

  watch(signal: AbortSignal): AsyncIterable<void> {
    return this.#moves.watch(signal)
  }

  async lead(namespace: string, owner: string, ttlMs: number): Promise<number> {
    this.#moves.assertOpen()
    const life = this.#life(namespace)
    const { incarnation } = life.namespace
    const held = this.#leaders.renew(namespace, incarnation, owner, ttlMs)
    if (held !== undefined) return held
    life.epoch++
    this.#leaders.grant(namespace, incarnation, owner, ttlMs, life.epoch)
    return life.epoch
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#moves.close()
  }

  #life(namespace: string): Life {
    const life = this.#lives.get(namespace)
    if (!life) throw noNamespace(namespace)
    return life
  }

  #apply(part: Part): Outcome {
    const life = this.#lives.get(part.namespace)
    const verdict = judge(part, life && headOf(life), (revision) =>
      life?.roots.at(firstAfter(life.roots, revision)),
    )
    if (verdict || !life) return verdict ?? { status: 'conflict', head: undefined }
    this.#store(part.blobs)
    life.roots.push(part.root)
    this.#trim(life.roots, part.retained)
    this.#moves.moved()
    return { status: 'applied', revision: part.root.seq }
  }

  /** Stores blobs. REQUIRES: no await between this and the root that names them. */
  #store(blobs: readonly Blob[]): void {
    this.#spares.commit(blobs)() // spares them, even if they are stored already
    for (const { ref, bytes } of blobs) {
      if (this.#blobs.has(ref)) continue
      this.#blobs.set(ref, { id: ++this.#lastId, bytes })
      this.#stored += bytes.length
    }
  }

  #sweep(rest: Iterator<[Blobref, Stored]>, until: number, step: SweepStep): Swept {
    let [scanned, refs] = [0, 0]
    const freed = { count: 0, size: 0 }
    for (let item = rest.next(); !item.done; item = rest.next()) {
      const [ref, { id, bytes }] = item.value
      if (id > until) break
      if (id <= step.after) continue
      scanned += bytes.length
      refs++
      if (!step.live(ref, bytes.length) && !this.#spares.isSpared(ref, step.sparedSince)) {
        freed.count++
        freed.size += bytes.length
        if (!step.dryRun) this.#free(ref, bytes)
      }
      if (scanned >= sweepStepSize || refs >= sweepRefsMax) return { next: id, scanned, freed }
    }
    return { next: undefined, scanned, freed }
  }

  #free(ref: Blobref, bytes: Uint8Array): void {
    this.#blobs.delete(ref)
    this.#stored -= bytes.length
  }

  #trim(roots: Root[], retained: number | undefined): void {
    const last = roots[trimBatch]
    if (!last || roots.length < historyCount + trimBatch) return
    if (retained !== undefined && last.seq > retained) return
    if (last.time < this.#environment.now() - historyAgeMs) roots.splice(0, trimBatch)
  }
}

function headOf(life: Life): Head {
  const root = life.roots.at(-1)
  if (!root) throw new Error('a namespace has a root from its creation on')
  return { namespace: life.namespace, root, revision: root.seq }
}

/** Finds the index of the first root with a seq above `seq`; `roots.length` where there is none. */
function firstAfter(roots: readonly Root[], seq: number): number {
  let low = 0
  let high = roots.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((roots[middle]?.seq ?? 0) > seq) high = middle
    else low = middle + 1
  }
  return low
}
