/** What a key names at a root, found without waiting. See rfc/6.
 *  Invariant: nothing is loaded and nothing is held: no collection takes anything away before the caller
 *  waits. */

import type { Root } from '../engine/engine.js'
import { notInMemory } from '../tree/dir.js'
import { parseKey } from '../tree/key.js'
import { peekLookup } from '../tree/lookup.js'
import type { Nodes } from '../tree/nodes.js'
import { peekRoot } from '../tree/root.js'
import type { Dir, Treeobj } from '../tree/treeobj.js'

export type Peeked = {
  /** Undefined where the key is not there. */
  readonly treeobj: Treeobj | undefined
  readonly meta: Dir
  readonly seq: number
}

/** Undefined where nodes are to be loaded or links to be followed. Throws EINVAL, ECORRUPT. */
export function peekKey(
  nodes: Nodes,
  root: Root,
  key: string,
  options: { readonly follow: boolean },
): Peeked | undefined {
  const trees = peekRoot(nodes, root.ref)
  if (!trees) return undefined
  const treeobj = peekLookup(nodes, trees.data, parseKey(key), options)
  return treeobj === notInMemory ? undefined : { treeobj, meta: trees.meta, seq: root.seq }
}
