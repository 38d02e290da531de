/** Reads and writes the root node of a namespace, which names its two trees (rfc/5), and the names
 *  that the engine keeps with a root: the keys that its group changed, and the leases that were
 *  taken or ended (rfc/17, rule 5; rfc/9).
 *  Invariant: the name of a lease is NUL and its key, which no key can be. So a lease concerns only
 *  those who watch leases, and is never shown as a key. */

import type { Blobref } from '../blob/blobref.js'
import { corrupt } from '../treeobj/check.js'
import { type Key, rootKey } from '../treeobj/key.js'
import { type Dir, emptyDir } from '../treeobj/treeobj.js'
import type { Node } from './node.js'
import type { NodeSink, Nodes } from './nodes.js'
import type { RootNode } from './root-node.js'

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

/** The largest number of names in a root. Above it the root names none. */
const rootKeysMax = 1_024
/** The largest length of all names in a root together, in UTF-16 units.
 *  Above it the root names none. */
const rootKeysSizeMax = 64 * 1024

const mark = '\0'

/** Returns the name of the lease of a key in a root. */
export function leaseMark(key: Key): Key {
  return `${mark}${key}` as Key
}

/** True if a name in a root is that of a lease. */
export function isLeaseMark(name: string): boolean {
  return name.startsWith(mark)
}

/** Returns the `keys` of a root. They are left out if the root concerns every key: if the root
 *  directory itself was changed, or if there are too many names. */
export function rootKeysOf(changed: ReadonlySet<Key>): { keys?: string[] } {
  if (changed.size > rootKeysMax || changed.has(rootKey)) return {}
  const keys = [...changed]
  const size = keys.reduce((sum, key) => sum + key.length, 0)
  return size > rootKeysSizeMax ? {} : { keys }
}

/** Returns those of the names that are keys. */
export function withoutLeases(names: readonly string[]): readonly string[] {
  return names.some(isLeaseMark) ? names.filter((name) => !isLeaseMark(name)) : names
}

/** True if a root may have changed what a key names. */
export function concerns({ keys }: { readonly keys?: readonly string[] }, key: Key): boolean {
  if (!keys || key === '') return true
  return keys.some(
    (each) => each === key || each.startsWith(`${key}/`) || key.startsWith(`${each}/`),
  )
}
