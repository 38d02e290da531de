/** Which blobs and nodes an export has a record for, in which order: what the tree reaches, parents before
 *  children, and what the base of a difference does not. See rfc/15.
 *  Invariant: who writes a stream and who reads it go through this, so that a record that is missing,
 *  doubled or out of its place is one that the reader does not expect. */

import type { Blobref } from '../blob/blobref.js'
import { canceled } from '../error.js'
import type { Nodes } from '../tree/nodes.js'
import { type Reached, reachable } from '../tree/reach.js'
import { ReachedSet } from '../tree/reached-set.js'
import type { Dir } from '../tree/treeobj.js'

/** Memory: about 30 bytes a ref. */
export class ExportWalk {
  /** Met with all that is below. */
  readonly #whole = new ReachedSet()
  /** Nodes met of trimmed logs only: a few for each. */
  readonly #parts = new Set<Blobref>()

  /** Whatever this tree reaches has no record. Throws EDANGLING, ECORRUPT, EIO, ECANCELED. */
  async leaveOut(nodes: Nodes, base: Dir, signal?: AbortSignal): Promise<void> {
    for await (const reached of reachable(nodes, base, this.#whole.has)) {
      if (signal?.aborted) throw canceled(signal)
      this.#meet(reached)
    }
  }

  /** What has a record. A node is loaded through `nodes` once the consumer goes on after it. */
  async *records(nodes: Nodes, data: Dir): AsyncGenerator<Reached> {
    for await (const reached of reachable(nodes, data, this.#whole.has)) {
      if (this.#meet(reached)) yield reached
    }
  }

  /** Whether it is met for the first time. */
  #meet(reached: Reached): boolean {
    const { ref, kind, partial } = reached
    const fresh = kind === 'blob' || !this.#parts.has(ref)
    if (partial) this.#parts.add(ref)
    else this.#whole.add(reached)
    return fresh
  }
}
