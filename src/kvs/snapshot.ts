/** A snapshot that a collection leaves alone while it is read. See rfc/10.
 *  Invariant: every root that it leads to, in other namespaces too, is held from the moment it was looked up
 *  until the snapshot is disposed of. */

import { type HeldRoot, readerHoldMs } from '../past/holds.js'
import type { LiveNamespace } from '../past/namespace.js'
import type { Past } from '../past/past.js'
import type { RootNode } from '../tree/root.js'
import type { Dir } from '../tree/treeobj.js'
import type { Snapshot } from './read.js'

export type HeldSnapshot = Snapshot &
  Disposable & {
    readonly meta: Dir
    /** The answer names the root for more to be read from: it stays readable for `keptRootMs`. */
    readonly keep: () => void
  }

/** The namespaces that links of a snapshot may lead to. */
export type LinkedNamespaces = {
  readonly past: Past
  readonly peek: (name: string) => LiveNamespace | undefined
}

/** Takes the root's hold over: it is disposed of with the snapshot, or where this throws. */
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

/** Chunks whose snapshot is held until they end or are left; if nobody asks for the first, for
 *  `readerHoldMs`. */
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
