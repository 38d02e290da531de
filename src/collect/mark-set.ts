/** The set of refs that a collection has marked as in use: about 30 bytes a ref. See rfc/14,
 *  rule 4.
 *  Invariant: the set knows two facts of a ref: it is needed, and it was walked as a node, with all
 *  that is below it. The second does not hold for a node that was met as a blob (a raw treeobj can
 *  say so), or of which only a part is needed (a trimmed log). */

import { type Blobref, firstByteOf } from '../blob/blobref.js'
import { RefSet } from '../blob/ref-set.js'
import type { Reached } from '../walk/reach.js'

/** The set. Mutable; owned by the mark that fills it. */
export class MarkSet {
  readonly #walked = new Shards()
  readonly #named = new Shards()
  #count = 0

  /** The number of refs that are needed. */
  get count(): number {
    return this.#count
  }

  /** Adds a ref that a walk yielded. */
  add({ ref, kind, partial }: Reached): void {
    if (!this.has(ref)) this.#count++
    const shards = kind === 'node' && !partial ? this.#walked : this.#named
    shards.add(ref)
  }

  /** True if a ref is needed. */
  has(ref: Blobref): boolean {
    return this.#walked.has(ref) || this.#named.has(ref)
  }

  /** True if everything below a ref is in the set, or is added by the walk in progress. */
  isWalked(ref: Blobref): boolean {
    return this.#walked.has(ref)
  }
}

/** A set for each first byte of a digest, so that no growth of a set takes long. */
class Shards {
  readonly #sets: (RefSet | undefined)[] = []

  add(ref: Blobref): void {
    const at = firstByteOf(ref)
    const set = this.#sets[at] ?? new RefSet()
    this.#sets[at] = set
    set.add(ref)
  }

  has(ref: Blobref): boolean {
    return this.#sets[firstByteOf(ref)]?.has(ref) ?? false
  }
}
