/** The set of refs that a walk has yielded as a whole: see `reachable`. About 30 bytes a ref.
 *  Invariant: it keeps nodes and blobs apart. A raw treeobj may name a node as a blob, and below a
 *  blob there is nothing. */

import type { Blobref } from '../blob/blobref.js'
import { RefSet } from '../blob/ref-set.js'
import type { Reached } from './reach.js'

/** The set. Mutable; owned by the walk that fills it. */
export class ReachedSet {
  readonly #nodes = new RefSet()
  readonly #blobs = new RefSet()

  /** True if the ref was added as this kind: the `seen` of `reachable`. */
  readonly has = (ref: Blobref, kind: Reached['kind']): boolean => this.#of(kind).has(ref)

  /** Adds a ref that a walk yielded. REQUIRES: it is not partial. */
  add({ ref, kind }: Reached): void {
    this.#of(kind).add(ref)
  }

  #of(kind: Reached['kind']): RefSet {
    return kind === 'node' ? this.#nodes : this.#blobs
  }
}
