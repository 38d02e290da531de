/** The walk that gives the records of an export, in their order: all blobs and nodes that the tree
 *  reaches and the base of a difference does not, parents before children. See rfc/15, rule 4.
 *  Invariant: writer and reader of a stream use the same walk. So the reader expects each record,
 *  and finds one that is missing, doubled or out of its place. */

import type { Blobref } from '../blob/blobref.js'
import { canceled } from '../error.js'
import type { Nodes } from '../tree/nodes.js'
import type { Dir } from '../treeobj/treeobj.js'
import { type Reached, ReachedSet, reachable } from '../walk/reach.js'

/** A walk over one tree. Memory: about 30 bytes for each ref. */
export class ExportWalk {
  /** Blobs and nodes that were met with everything below them. */
  readonly #whole = new ReachedSet()
  /** Nodes of trimmed logs that were met only in part: a few for each log. */
  readonly #parts = new Set<Blobref>()

  /** Leaves out all that the tree `base` reaches. Throws EDANGLING, ECORRUPT, EIO, ECANCELED. */
  async leaveOut(nodes: Nodes, base: Dir, signal?: AbortSignal): Promise<void> {
    for await (const reached of reachable(nodes, base, this.#whole.has)) {
      if (signal?.aborted) throw canceled(signal)
      this.#meet(reached)
    }
  }

  /** Yields the blobs and nodes that have a record. A node is loaded through `nodes` when the
   *  consumer asks for the one after it. */
  async *records(nodes: Nodes, data: Dir): AsyncGenerator<Reached> {
    for await (const reached of reachable(nodes, data, this.#whole.has)) {
      if (this.#meet(reached)) yield reached
    }
  }

  /** Marks a blob or node as met. Returns true if it is met for the first time. */
  #meet(reached: Reached): boolean {
    const { ref, kind, partial } = reached
    const fresh = kind === 'blob' || !this.#parts.has(ref)
    if (partial) this.#parts.add(ref)
    else this.#whole.add(reached)
    return fresh
  }
}
