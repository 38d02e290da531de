/** What a collection has found to be in use: about 30 bytes a ref. See rfc/14.
 *  Invariant: two facts of a ref: that it is needed, and that it was walked as a node, all below it too. A
 *  node that was met as a blob (somebody stored a treeobj that lies), or of which only a part is needed (a
 *  trimmed log), was not. */

import type { Blobref } from '../blob/blobref.js'
import { RefSet } from '../blob/ref-set.js'
import type { Reached } from '../tree/reach.js'

/** Mutable; owned by the mark that fills it. */
export class MarkSet {
  readonly #walked = new Shards()
  readonly #named = new Shards()
  #count = 0

  /** Refs that are needed. */
  get count(): number {
    return this.#count
  }

  add({ ref, kind, partial }: Reached): void {
    if (!this.has(ref)) this.#count++
    const shards = kind === 'node' && !partial ? this.#walked : this.#named
    shards.add(ref)
  }

  /** Is it needed? */
  has(ref: Blobref): boolean {
    return this.#walked.has(ref) || this.#named.has(ref)
  }

  /** Is all below it needed, and in the set, or on its way there? */
  isWalked(ref: Blobref): boolean {
    return this.#walked.has(ref)
  }
}

/** One set for each first byte of a digest, so that none takes long to grow. */
class Shards {
  readonly #sets: (RefSet | undefined)[] = []

  add(ref: Blobref): void {
    const at = shardOf(ref)
    const set = this.#sets[at] ?? new RefSet()
    this.#sets[at] = set
    set.add(ref)
  }

  has(ref: Blobref): boolean {
    return this.#sets[shardOf(ref)]?.has(ref) ?? false
  }
}

function shardOf(ref: Blobref): number {
  return Number.parseInt(ref.slice(7, 9), 16) // after "blake3-"
}
