/** What a walk over all that trees reach has met whole: see `reachable`. About 30 bytes a ref.
 *  Invariant: nodes and blobs are told apart: a raw treeobj may name the ref of a node as a blob's, below which
 *  there is nothing. */

import type { Blobref } from '../blob/blobref.js'
import { RefSet } from '../blob/ref-set.js'
import type { Reached } from './reach.js'

/** Mutable; owned by the walk that fills it. */
export class ReachedSet {
  readonly #nodes = new RefSet()
  readonly #blobs = new RefSet()

  /** For `reachable` to ask. */
  readonly has = (ref: Blobref, kind: Reached['kind']): boolean => this.#of(kind).has(ref)

  /** REQUIRES: what was reached is not partial. */
  add({ ref, kind }: Reached): void {
    this.#of(kind).add(ref)
  }

  #of(kind: Reached['kind']): RefSet {
    return kind === 'node' ? this.#nodes : this.#blobs
  }
}
