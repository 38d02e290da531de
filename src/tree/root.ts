/** Reads and writes the root node of a namespace, which names its two trees. See rfc/5. */

import type { Blobref } from '../blob/blobref.js'
import { corrupt } from './check.js'
import type { Node } from './node.js'
import type { NodeSink, Nodes } from './nodes.js'
import type { RootNode } from './root-node.js'
import { type Dir, emptyDir } from './treeobj.js'

/** The two trees of a namespace: see `RootNode`. */
export type Trees = {
  readonly data: Dir
  readonly meta: Dir
}

export type { RootNode }

/** The trees of a new namespace. */
export const emptyRoot: Trees = { data: emptyDir, meta: emptyDir }

/** Writes a root node, and returns its ref. */
export function writeRoot(writer: NodeSink, { data, meta }: Trees): Blobref {
  return writer.write({ kind: 'root', data, meta })
}

/** Returns a root node; undefined if it is not in memory. Throws ECORRUPT. */
export function peekRoot(nodes: Nodes, ref: Blobref): RootNode | undefined {
  const node = nodes.peek(ref)
  return node && checkRoot(node)
}

/** Loads a root node. Throws EDANGLING, ECORRUPT, EIO. */
export async function readRoot(nodes: Nodes, ref: Blobref): Promise<RootNode> {
  return peekRoot(nodes, ref) ?? checkRoot(await nodes.load(ref))
}

function checkRoot(node: Node): RootNode {
  if (node.kind !== 'root') throw corrupt('no root where a root is named')
  return node
}
