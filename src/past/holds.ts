/** What open readers need, so that a collection leaves it: trees of roots, logs that were replaced. See
 *  rfc/10.
 *  Invariant: a tree is held from `hold` until each of its holds was disposed of, whatever became of the
 *  namespace that it came from. */

import type { Blobref } from '../blob/blobref.js'
import type { Root } from '../engine/engine.js'
import type { Treeobj } from '../tree/treeobj.js'

/** What a call resolved without reading on is held this long, by the monotonic clock. */
export const readerHoldMs = 60_000

/** The tree of a root, by its ref; or what one treeobj leads to. */
export type Held = { readonly root: Blobref } | { readonly treeobj: Treeobj }

/** A root that stays readable until it is disposed of. */
export type HeldRoot = Disposable & { readonly root: Root }

type Counted = {
  readonly held: Held
  count: number
  /** Held since before something was forgotten. */
  stale: boolean
}

export class Holds {
  readonly #counts = new Map<string, Counted>()
  readonly #timer: (ms: number, act: () => void) => Disposable

  constructor(timer: (ms: number, act: () => void) => Disposable) {
    this.#timer = timer
  }

  /** The trees of a root. */
  hold(ref: Blobref): Disposable {
    return this.#add(ref, { root: ref })
  }

  holdTreeobj(treeobj: Treeobj): Disposable {
    if (treeobj.type === 'val' || treeobj.type === 'symlink') return { [Symbol.dispose]: () => {} }
    const base = treeobj.type === 'valref' ? (treeobj.base?.count ?? 0) : 0
    return this.#add(`${treeobj.type} ${base} ${treeobj.ref}`, { treeobj })
  }

  /** A hold that ends by itself after `readerHoldMs`, or when it is disposed of. */
  holdFor(ref: Blobref): Disposable {
    const hold = this.hold(ref)
    const timer = this.#timer(readerHoldMs, () => hold[Symbol.dispose]())
    return {
      [Symbol.dispose]: () => {
        timer[Symbol.dispose]()
        hold[Symbol.dispose]()
      },
    }
  }

  /** All that is held now. For `Past.inUse`. */
  held(): Held[] {
    return [...this.#counts.values()].map(({ held }) => held)
  }

  /** Something was forgotten: what is held now may have it still. */
  forgotten(): void {
    for (const counted of this.#counts.values()) counted.stale = true
  }

  /** Whether something is held that may have what was forgotten. */
  get stale(): boolean {
    return [...this.#counts.values()].some(({ stale }) => stale)
  }

  #add(id: string, held: Held): Disposable {
    const known = this.#counts.get(id)
    if (known) {
      known.count++
      return new Hold(this.#counts, id, known)
    }
    const counted = { held, count: 1, stale: false }
    this.#counts.set(id, counted)
    return new Hold(this.#counts, id, counted)
  }
}

/** Each read makes one. */
class Hold implements Disposable {
  readonly #counts: Map<string, Counted>
  readonly #id: string
  #counted: Counted | undefined

  constructor(counts: Map<string, Counted>, id: string, counted: Counted) {
    this.#counts = counts
    this.#id = id
    this.#counted = counted
  }

  [Symbol.dispose](): void {
    const counted = this.#counted
    if (!counted) return
    this.#counted = undefined
    if (--counted.count === 0) this.#counts.delete(this.#id)
  }
}
