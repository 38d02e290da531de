/** The retained roots of one namespace: the newest in memory, older ones in the engine. See rfc/6.
 *  Invariant: `since` gives every root from a seq on, in order, or says that some are gone. */

import { type Blobref, parseBlobref } from '../blob/blobref.js'
import type { Engine, Root } from '../engine/engine.js'
import { TailraceError } from '../error.js'

/** Roots kept in memory, and the keys that they name between them. */
export const rootsInMemoryMax = 4_096
export const keysInMemoryMax = 65_536

export class RootLog {
  readonly #engine: Engine
  readonly #namespace: string
  /** Oldest first, without a gap, up to the newest root. */
  #roots: Root[]
  #keys = 0

  constructor(engine: Engine, namespace: string, newest: Root) {
    this.#engine = engine
    this.#namespace = namespace
    this.#roots = [newest]
    this.#keys = newest.keys?.length ?? 0
  }

  push(root: Root): void {
    this.#roots.push(root)
    this.#keys += root.keys?.length ?? 0
    if (this.#roots.length < 2 * rootsInMemoryMax && this.#keys <= 2 * keysInMemoryMax) return
    // Half at a time, so that a push costs O(1) amortised.
    const kept = this.#roots.slice(this.#roots.length >> 1)
    this.#roots = kept
    this.#keys = kept.reduce((sum, each) => sum + (each.keys?.length ?? 0), 0)
  }

  /** The roots whose groups hold `seq` and later ones, oldest first, at most `limit`. `gap` says that
   *  older ones of them are no more retained. */
  async since(seq: number, limit: number): Promise<{ roots: readonly Root[]; gap: boolean }> {
    const oldest = this.#roots[0]
    // The oldest in memory may hold `seq` only if an older root does not.
    if (oldest && seq > oldest.seq) {
      const start = firstAtLeast(this.#roots, seq)
      return { roots: this.#roots.slice(start, start + limit), gap: false }
    }
    const roots: Root[] = []
    for await (const root of this.#engine.history(this.#namespace, seq - 1)) {
      roots.push(root)
      if (roots.length === limit) break
    }
    const first = roots[0]
    if (!first || first.seq === seq) return { roots, gap: false }
    // Whether a root before `first` was deleted cannot be told from `first`: ask for the one before.
    const before = await firstOf(this.#engine.history(this.#namespace, -1))
    return { roots, gap: before !== undefined && before.seq >= seq }
  }

  /** The root of the group that holds a seq, or that has a ref. Throws EINVAL (not there yet, no ref),
   *  ECOMPACTED. */
  async at(at: number | string, newest: Root): Promise<Root> {
    return typeof at === 'string'
      ? this.#named(parseBlobref(at), newest)
      : this.#holding(at, newest)
  }

  async #named(ref: Blobref, newest: Root): Promise<Root> {
    if (newest.ref === ref) return newest
    const known = this.#roots.findLast((root) => root.ref === ref)
    if (known) return known
    const oldest = this.#roots[0]?.seq ?? newest.seq
    for await (const root of this.#engine.history(this.#namespace, -1)) {
      if (root.seq >= oldest) break
      if (root.ref === ref) return root
    }
    throw new TailraceError('ECOMPACTED', `no retained root has the ref ${ref}`)
  }

  async #holding(seq: number, newest: Root): Promise<Root> {
    if (!Number.isSafeInteger(seq) || seq < 0 || seq > newest.seq) {
      throw new TailraceError('EINVAL', `there is no seq ${seq} yet: the newest is ${newest.seq}`)
    }
    if (seq === newest.seq) return newest
    const { roots, gap } = await this.since(seq, 1)
    const [root] = roots
    if (!root || gap) {
      throw new TailraceError('ECOMPACTED', `the root of seq ${seq} is no more retained`)
    }
    return root
  }
}

function firstAtLeast(roots: readonly Root[], seq: number): number {
  let low = 0
  let high = roots.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((roots[middle]?.seq ?? 0) < seq) low = middle + 1
    else high = middle
  }
  return low
}

async function firstOf<T>(items: AsyncIterable<T>): Promise<T | undefined> {
  for await (const item of items) return item
  return undefined
}
