/** The roots of one namespace: the newest ones in memory, older ones in the engine. See rfc/10.
 *  Invariant: `since` gives every root from a seq on, in order, or tells that some are gone.
 *  Neither `since` nor `at` gives a root below the floor, even if the engine still has it. */

import { LoopSlice } from '../base/loop-slice.js'
import { type Blobref, parseBlobref } from '../blob/blobref.js'
import type { Engine, Rewritten, Root } from '../engine/engine.js'
import { canceled, TailraceError } from '../error.js'

/** The number of roots to which the list in memory is cut back; it grows to twice that. */
const rootsInMemoryMax = 4_096
/** The number of keys, named by the roots in memory together, to which the list is cut back; it
 *  grows to twice that. */
const keysInMemoryMax = 65_536
/** The largest number of roots in one window of `pageBefore`. */
const pageBeforeMax = 1_024
/** The number of characters of keys after which a window of `pageBefore` ends. */
const lookSizeMax = 1024 * 1024

/** The bounds of a page besides its limit. */
type Bounds = {
  /** The page ends after the root with which the keys have more characters than this. */
  readonly sizeMax?: number
  readonly signal?: AbortSignal | undefined
}

/** The roots of one namespace, in the order of their seqs. */
export class RootLog {
  readonly #engine: Engine
  readonly #namespace: string
  /** The roots in memory, oldest first, without a gap, up to the newest root. */
  #roots: Root[]
  /** The number of keys that they name together. */
  #keys = 0
  readonly #floor: () => Promise<number>

  /** `floor` judges the oldest retained seq. */
  constructor(engine: Engine, namespace: string, newest: Root, floor: () => Promise<number>) {
    this.#floor = floor
    this.#engine = engine
    this.#namespace = namespace
    this.#roots = [newest]
    this.#keys = newest.keys?.length ?? 0
  }

  /** Adds the root that follows the newest one. */
  push(root: Root): void {
    this.#roots.push(root)
    this.#keys += root.keys?.length ?? 0
    if (this.#roots.length < 2 * rootsInMemoryMax && this.#keys <= 2 * keysInMemoryMax) return
    // Half at a time, so that a push costs O(1) amortised.
    const kept = this.#roots.slice(this.#roots.length >> 1)
    this.#roots = kept
    this.#keys = kept.reduce((sum, each) => sum + (each.keys?.length ?? 0), 0)
  }

  /** Gives roots other refs. */
  rewritten(roots: readonly Rewritten[]): void {
    const refs = new Map(roots.map(({ seq, ref }) => [seq, ref]))
    this.#roots = this.#roots.map((root) => {
      const ref = refs.get(root.seq)
      return ref ? { ...root, ref } : root
    })
  }

  /** Returns up to `limit` roots with a seq above `after`, oldest first, retained or not.
   *  Throws ECANCELED. */
  async page(after: number, limit: number, bounds: Bounds = {}): Promise<readonly Root[]> {
    const { sizeMax = Number.POSITIVE_INFINITY, signal } = bounds
    const oldest = this.#roots[0]
    // The memory answers only from its oldest root on: the engine may have older roots.
    if (oldest && after >= oldest.seq) {
      const start = firstAtLeast(this.#roots, after + 1)
      return withinSize(this.#roots.slice(start, start + limit), sizeMax)
    }
    const roots: Root[] = []
    const slice = new LoopSlice()
    let size = 0
    for await (const root of this.#engine.history(this.#namespace, after)) {
      if (slice.over) await slice.turn()
      if (signal?.aborted) throw canceled(signal)
      roots.push(root)
      size += keysSizeOf(root)
      if (roots.length === limit || size > sizeMax) break
    }
    return roots
  }

  /** Returns the last roots, up to `limit`, with a seq from `from` on and below `before`, newest
   *  first. It looks back in windows of seqs: a window is widened while it holds few roots, and
   *  narrowed where it holds more than `pageBeforeMax`. Throws ECANCELED. */
  async pageBefore(
    from: number,
    before: number,
    limit: number,
    bounds: Bounds = {},
  ): Promise<readonly Root[]> {
    const { sizeMax = Number.POSITIVE_INFINITY, signal } = bounds
    const found: Root[] = []
    let size = 0
    let end = before
    let width = Math.min(limit, pageBeforeMax)
    while (found.length < limit && size <= sizeMax && end > from) {
      const start = Math.max(from, end - width)
      const page = await this.page(start - 1, pageBeforeMax + 1, { sizeMax: lookSizeMax })
      if (signal?.aborted) throw canceled(signal)
      const roots = page.filter(({ seq }) => seq < end)
      const lookSize = sizeOf(page)
      // A window of one seq is never narrowed.
      if (end - start > 1 && (roots.length > pageBeforeMax || lookSize > lookSizeMax)) {
        width = Math.ceil((end - start) / 2)
        continue
      }
      found.push(...roots.toReversed())
      size += sizeOf(roots)
      end = start
      if (roots.length < pageBeforeMax / 4 && lookSize < lookSizeMax / 4) width *= 2
    }
    return withinSize(found.slice(0, limit), sizeMax)
  }

  /** Returns the retained roots whose groups hold `seq` and later seqs, oldest first, at most
   *  `limit`. `gap` is true if some before them are no longer retained. */
  async since(seq: number, limit: number): Promise<{ roots: readonly Root[]; gap: boolean }> {
    const floor = await this.#floor()
    const roots = await this.page(Math.max(seq, floor) - 1, limit)
    return { roots, gap: seq < floor && !(await this.#holds(floor, seq)) }
  }

  /** Resolves to true if the group of the root at `floor` also holds the lower `seq`; false where
   *  this cannot be told. */
  async #holds(floor: number, seq: number): Promise<boolean> {
    const [first] = await this.page(seq - 1, 1)
    if (first?.seq !== floor) return false
    // Only an older root tells that no root between the two was deleted.
    const [oldest] = await this.page(-1, 1)
    return oldest !== undefined && oldest.seq < seq
  }

  /** Returns the retained root whose group holds a seq, or that has a ref. Throws EINVAL (the seq
   *  is not there yet, or the text is no ref), ECOMPACTED. */
  async at(at: number | string, newest: Root): Promise<Root> {
    return typeof at === 'string'
      ? this.#named(parseBlobref(at), newest)
      : this.#holding(at, newest)
  }

  async #named(ref: Blobref, newest: Root): Promise<Root> {
    if (newest.ref === ref) return newest
    const floor = await this.#floor()
    const known = this.#roots.findLast((root) => root.ref === ref)
    if (known && known.seq >= floor) return known
    const oldest = this.#roots[0]?.seq ?? newest.seq
    if (floor < oldest) {
      for await (const root of this.#engine.history(this.#namespace, floor - 1)) {
        if (root.seq >= oldest) break
        if (root.ref === ref) return root
      }
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

/** Counts the characters of the keys that a root names. */
function keysSizeOf({ keys = [] }: Root): number {
  return keys.reduce((sum, key) => sum + key.length, 0)
}

/** Counts the characters of the keys that the roots name. */
export function sizeOf(roots: readonly Root[]): number {
  return roots.reduce((sum, root) => sum + keysSizeOf(root), 0)
}

/** Cuts a list of roots after the one with which the keys have more characters than `sizeMax`. */
function withinSize(roots: readonly Root[], sizeMax: number): readonly Root[] {
  let size = 0
  const last = roots.findIndex((root) => {
    size += keysSizeOf(root)
    return size > sizeMax
  })
  return last < 0 ? roots : roots.slice(0, last + 1)
}

/** Finds the index of the first root whose seq is at least `seq`. */
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
