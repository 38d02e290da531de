/** What open readers need, so that a collection leaves it: trees of roots, logs that were replaced. See
 *  rfc/10.
 *  Invariant: a ref is held from `hold` until each of its holds was disposed of, whatever became of the
 *  namespace that it came from. */

import type { Blobref } from '../blob/blobref.js'
import type { Reached } from '../tree/reach.js'
import type { Treeobj } from '../tree/treeobj.js'

/** What a call resolved without reading on is held this long, by the monotonic clock. */
export const readerHoldMs = 60_000

export class Holds {
  readonly #counts = new Map<Blobref, { readonly reached: Reached; count: number }>()
  readonly #timer: (ms: number, act: () => void) => Disposable

  constructor(timer: (ms: number, act: () => void) => Disposable) {
    this.#timer = timer
  }

  /** A node with all that it leads to: a root's ref above all. */
  hold(ref: Blobref): Disposable {
    return this.#add({ ref, kind: 'node' })
  }

  /** What a treeobj leads to. */
  holdTreeobj(treeobj: Treeobj): Disposable {
    if (!('ref' in treeobj) || treeobj.ref === undefined) return { [Symbol.dispose]: () => {} }
    const blob = treeobj.type === 'valref' && treeobj.count === 1
    return this.#add({ ref: treeobj.ref, kind: blob ? 'blob' : 'node' })
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

  /** All that is held now. A collection asks after it has settled the floors: whoever took a hold later
   *  has seen those. */
  held(): Reached[] {
    return [...this.#counts.values()].map(({ reached }) => reached)
  }

  #add(reached: Reached): Disposable {
    const { ref } = reached
    const known = this.#counts.get(ref)
    if (known) known.count++
    else this.#counts.set(ref, { reached, count: 1 })
    let open = true
    return {
      [Symbol.dispose]: () => {
        if (!open) return
        open = false
        const entry = this.#counts.get(ref)
        if (entry && --entry.count === 0) this.#counts.delete(ref)
      },
    }
  }
}
