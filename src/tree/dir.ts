/** Directories of any size: lookup, listing, change. A prolly tree. See rfc/5.
 *  Invariant: a Dir's ref is a function of its names and treeobjs alone, never of its history. */

import { LoopSlice } from '../base/loop-slice.js'
import { DirCursor, loadChild, loadTop, peekChild, peekTop } from './dir-cursor.js'
import { type DirNode, positionOf } from './dir-node.js'
import type { Nodes } from './nodes.js'
import type { Dir, Treeobj } from './treeobj.js'

export { editDir } from './dir-edit.js'

/** What `peekEntry` says where a node would have to be loaded. */
export const notInMemory: unique symbol = Symbol('notInMemory')

/** Undefined where the name is not there. Throws EDANGLING, ECORRUPT, EIO. */
export async function getEntry(nodes: Nodes, dir: Dir, name: string): Promise<Treeobj | undefined> {
  if (dir.ref === undefined) return undefined
  let node = await loadTop(nodes, dir, dir.ref)
  while (node.kind === 'branch') {
    const at = positionOf(node.items, name)
    if (at === node.items.length) return undefined
    node = peekChild(nodes, node, at) ?? (await loadChild(nodes, node, at))
  }
  return entryIn(node, name)
}

/** As `getEntry`, without waiting. */
export function peekEntry(
  nodes: Nodes,
  dir: Dir,
  name: string,
): Treeobj | undefined | typeof notInMemory {
  if (dir.ref === undefined) return undefined
  let node: DirNode | undefined = peekTop(nodes, dir, dir.ref)
  while (node?.kind === 'branch') {
    const at = positionOf(node.items, name)
    if (at === node.items.length) return undefined
    node = peekChild(nodes, node, at)
  }
  return node ? entryIn(node, name) : notInMemory
}

/** Names with what they name, in UTF-8 byte order, from the first one after `after`. Loads a leaf
 *  when it gets there; the event loop turns meanwhile. Throws EDANGLING, ECORRUPT, EIO. */
export async function* listDir(
  nodes: Nodes,
  dir: Dir,
  options?: { readonly after?: string },
): AsyncGenerator<readonly [string, Treeobj]> {
  if (dir.ref === undefined) return
  const after = options?.after
  const top = await loadTop(nodes, dir, dir.ref)
  const cursor = await DirCursor.seek(nodes, top, 0, after)
  let from = after === undefined ? 0 : positionOf(cursor.node.items, after)
  const slice = new LoopSlice()
  do {
    if (cursor.node.kind !== 'leaf') return
    for (const { name, treeobj } of cursor.node.items.slice(from)) {
      if (slice.over) await slice.turn()
      if (name !== after) yield [name, treeobj]
    }
    from = 0
  } while (await cursor.next())
}

function entryIn(node: DirNode, name: string): Treeobj | undefined {
  if (node.kind !== 'leaf') return undefined
  const entry = node.items[positionOf(node.items, name)]
  return entry?.name === name ? entry.treeobj : undefined
}
