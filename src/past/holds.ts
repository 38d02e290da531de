/** Holds: the trees of roots, and logs that were replaced, which open readers still need and a
 *  collection must not free. See rfc/10, rules 8 to 11.
 *  Invariant: a tree is held from `hold` until each of its holds was disposed of, even if its
 *  namespace was removed meanwhile. */

import type { Blobref } from '../blob/blobref.js'
import type { Root } from '../engine/engine.js'
import type { Treeobj } from '../treeobj/treeobj.js'

/** The time, in ms (monotonic), for which a root is held where no read says its end: a stream that
 *  nobody begins to read, the source of a copy. */
export const readerHoldMs = 60_000

/** The things that can be held: both trees of a root, or all that one treeobj reaches. */
export type Held = { readonly root: Blobref } | { readonly treeobj: Treeobj }

/** A root that stays readable until it is disposed of. */
export type HeldRoot = Disposable & { readonly root: Root }

type Counted = {
  readonly held: Held
  /** The number of its holds. */
  count: number
  /** True if it is held since before something was forgotten. */
  stale: boolean
}

/** The holds of a store. */
export class Holds {
  readonly #counts = new Map<string, Counted>()
  readonly #timer: (ms: number, act: () => void) => Disposable

  constructor(timer: (ms: number, act: () => void) => Disposable) {
    this.#timer = timer
  }

  /** Holds the trees of a root until the result is disposed of. */
  hold(ref: Blobref): Disposable {
    return this.#add(ref, { root: ref })
  }

  /** Holds all that a treeobj reaches, without the dropped head of a trimmed log, until the result
   *  is disposed of. */
  holdTreeobj(treeobj: Treeobj): Disposable {
    if (treeobj.type === 'val' || treeobj.type === 'symlink') return { [Symbol.dispose]: () => {} }
    const base = treeobj.type === 'valref' ? (treeobj.base?.count ?? 0) : 0
    return this.#add(`${treeobj.type} ${base} ${treeobj.ref}`, { treeobj })
  }

  /** Holds the trees of a root for `readerHoldMs`, or until the result is disposed of. */
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

  /** Lists all that is held now. */
  held(): Held[] {
    return [...this.#counts.values()].map(({ held }) => held)
  }

  /** Marks all that is held now as stale. Called when something was forgotten, since it may
   *  have that still. */
  forgotten(): void {
    for (const counted of this.#counts.values()) counted.stale = true
  }

  /** True if something stale is still held. */
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

/** One hold. It is a class of its own since each read makes one. */
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
