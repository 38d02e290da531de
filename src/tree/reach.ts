/** Everything that a tree needs to be whole: the refs of its nodes and of its values' blobs. See rfc/5. */

import { type Blobref, blobrefAt, digestSize } from '../blob/blobref.js'
import type { Entries } from './array-node.js'
import type { Node } from './node.js'
import type { Nodes } from './nodes.js'
import type { Treeobj } from './treeobj.js'

export type Reached = {
  readonly ref: Blobref
  readonly kind: 'node' | 'blob'
}

/** What a treeobj names, and all that is reachable from there, parents before children. A ref for which
 *  `seen` says true is left out with all below it; it is asked again each time a ref is met, so that
 *  one who keeps what was yielded meets every ref once. Memory: one node's refs a level. Throws
 *  EDANGLING, ECORRUPT, EIO. */
export async function* reachable(
  nodes: Nodes,
  from: Treeobj,
  seen: (ref: Blobref) => boolean,
): AsyncGenerator<Reached> {
  yield* reach(nodes, refsOfTreeobj(from), seen)
}

/** The same from a node, a namespace's root node for example. */
export async function* reachableFrom(
  nodes: Nodes,
  ref: Blobref,
  seen: (ref: Blobref) => boolean,
): AsyncGenerator<Reached> {
  yield* reach(nodes, [{ ref, kind: 'node' }], seen)
}

async function* reach(
  nodes: Nodes,
  from: readonly Reached[],
  seen: (ref: Blobref) => boolean,
): AsyncGenerator<Reached> {
  const waiting = [...from]
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    if (seen(next.ref)) continue
    yield next
    if (next.kind === 'blob') continue
    const node = nodes.peek(next.ref) ?? (await nodes.load(next.ref))
    waiting.push(...refsOfNode(node).reverse())
  }
}

function refsOfNode(node: Node): Reached[] {
  switch (node.kind) {
    case 'root':
      return [...refsOfTreeobj(node.data), ...refsOfTreeobj(node.meta)]
    case 'leaf':
      return node.items.flatMap((entry) => refsOfTreeobj(entry.treeobj))
    case 'branch':
      return node.items.map((child) => ({ ref: child.ref, kind: 'node' }))
    case 'open': {
      const up: Reached[] = node.up ? [{ ref: node.up, kind: 'node' }] : []
      return [...up, ...refsOfEntries(node)]
    }
    case 'page':
      return refsOfEntries(node)
    default:
      return node satisfies never
  }
}

function refsOfTreeobj(treeobj: Treeobj): Reached[] {
  switch (treeobj.type) {
    case 'val':
    case 'symlink':
      return []
    case 'valref':
      return [{ ref: treeobj.ref, kind: treeobj.count === 1 ? 'blob' : 'node' }]
    case 'dir':
      return treeobj.ref === undefined ? [] : [{ ref: treeobj.ref, kind: 'node' }]
    default:
      return treeobj satisfies never
  }
}

function refsOfEntries({ level, digests, marks }: Entries): Reached[] {
  const kind = level === 0 ? 'blob' : 'node'
  return marks.map((_, at) => ({ ref: blobrefAt(digests, at * digestSize), kind }))
}
