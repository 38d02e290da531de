/** Snapshots whose trees no collection frees while they are read. See rfc/10, rules 8 and 9.
 *  Invariant: the root of a snapshot, and each root of another namespace that a link led to, is
 *  held until the snapshot is disposed of. */

import { type HeldRoot, readerHoldMs } from '../past/holds.js'
import type { LiveNamespace } from '../past/namespace.js'
import type { Past } from '../past/past.js'
import type { RootNode } from '../tree/root.js'
import type { Dir } from '../treeobj/treeobj.js'
import type { Snapshot } from './read.js'

/** A snapshot whose roots are held until it is disposed of. */
export type HeldSnapshot = Snapshot &
  Disposable & {
    readonly meta: Dir
    /** Keeps the root readable for `keptRootMs`. Called where the answer names the root
     *  for a next page. */
    readonly keep: () => void
  }

/** The namespaces that links of a snapshot may lead to. */
type LinkedNamespaces = {
  readonly past: Past
  readonly peek: (name: string) => LiveNamespace | undefined
}

/** Makes a snapshot of a held root, and takes over the hold: it ends with the snapshot, or when
 *  this throws. Throws EDANGLING, ECORRUPT, EIO. */
export async function holdSnapshot(
  spaces: LinkedNamespaces,
  live: LiveNamespace,
  held: HeldRoot,
): Promise<HeldSnapshot> {
  const holds: Disposable[] = [held]
  const dispose = () => {
    for (const hold of holds.splice(0)) hold[Symbol.dispose]()
  }
  let trees: RootNode
  try {
    trees = await live.trees(held.root)
  } catch (error) {
    dispose()
    throw error
  }
  const elsewhere = (name: string): Promise<Dir> | undefined => {
    const other = spaces.peek(name)
    if (!other) return undefined
    holds.push(spaces.past.holds.hold(other.root.ref))
    return other.data()
  }
  return {
    namespace: live.name,
    seq: held.root.seq,
    meta: trees.meta,
    keep: () => spaces.past.kept.keep(live, held.root),
    views: (name) => (name === live.name ? trees.data : elsewhere(name)),
    [Symbol.dispose]: dispose,
  }
}

/** Passes chunks on, and disposes of their snapshot when they end, fail or are left; after
 *  `readerHoldMs` if nobody asks for the first one. */
export function heldChunks(
  chunks: AsyncIterable<Uint8Array>,
  snapshot: Disposable,
  timer: (ms: number, act: () => void) => Disposable,
): AsyncIterable<Uint8Array> {
  const release = () => snapshot[Symbol.dispose]()
  const unasked = timer(readerHoldMs, release)
  return {
    async *[Symbol.asyncIterator]() {
      unasked[Symbol.dispose]()
      try {
        yield* chunks
      } finally {
        release()
      }
    },
  }
}
