/** The nodes of a store that nobody has open, as they stand in its engine. */

import { join } from 'node:path'
import { systemEnvironment } from '../../src/base/environment.js'
import { type Blobref, blobrefAt, digestSize } from '../../src/blob/blobref.js'
import { openLocal } from '../../src/engine/local-open.js'
import { decodeNode, type Node } from '../../src/tree/node.js'
import type { Treeobj } from '../../src/treeobj/treeobj.js'

export type StoredNode = { readonly ref: Blobref; readonly bytes: Uint8Array; readonly node: Node }

/** The root of `primary`, then the nodes of one of its newest trees, parents before children. */
export async function storedNodes(
  directory: string,
  tree: 'data' | 'meta' = 'data',
): Promise<StoredNode[]> {
  const environment = systemEnvironment
  await using engine = await openLocal(join(directory, 'store'), { environment })
  const head = await engine.root('primary')
  const waiting: Blobref[] = head ? [head.root.ref] : []
  const found: StoredNode[] = []
  for (let ref = waiting.shift(); ref; ref = waiting.shift()) {
    const [bytes] = await engine.load([ref])
    if (!bytes) continue
    const node = decodeNode(bytes)
    found.push({ ref, bytes, node })
    waiting.push(...childrenOf(node, tree))
  }
  return found
}

function childrenOf(node: Node, tree: 'data' | 'meta'): Blobref[] {
  switch (node.kind) {
    case 'root':
      return nodeOf(node[tree])
    case 'leaf':
      return node.items.flatMap(({ treeobj }) => nodeOf(treeobj))
    case 'branch':
      return node.items.map(({ ref }) => ref)
    case 'open':
    case 'page': {
      const up = node.kind === 'open' && node.up ? [node.up] : []
      if (node.level === 0) return up
      return [...up, ...node.marks.map((_, at) => blobrefAt(node.digests, at * digestSize))]
    }
    default:
      return node satisfies never
  }
}

function nodeOf(treeobj: Treeobj): Blobref[] {
  if (treeobj.type === 'dir') return treeobj.ref ? [treeobj.ref] : []
  return treeobj.type === 'valref' && treeobj.count > 1 ? [treeobj.ref] : []
}
