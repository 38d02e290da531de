/** The nodes of a directory: leaves hold entries, branches hold children by their last names. See
 *  rfc/5.
 *  Invariant: names stand in UTF-8 byte order, each once; no entry but
 *  the last may end the node. */

import { type Blobref, blobrefAt, digestSize, writeDigest } from '../blob/blobref.js'
import type { Plain } from '../blob/codec.js'
import { asArray, asCount, asCounts, asDigests, corrupt, sumOf } from '../treeobj/check.js'
import { decodeTreeobj, encodeTreeobj } from '../treeobj/codec.js'
import { compareNames, isComponent } from '../treeobj/key.js'
import { keysOf, sizeOf, type Treeobj } from '../treeobj/treeobj.js'
import { childWeight, NodeEnd, nodeNamesMax, weightOf } from './node-end.js'

/** The first elements of the encodings: the kinds of the leaf and of the branch. */
export const leafKind = 2
export const branchKind = 3
/** The largest number of levels above the leaves: with eight entries a node, 20 levels hold more
 *  names than any store. */
export const dirLevelMax = 20

/** An entry of a leaf. */
export type DirEntry = { readonly name: string; readonly treeobj: Treeobj }

/** An entry of a branch: a node of the level below, by its last name, with the
 *  keys and bytes below it. */
export type Child = {
  readonly name: string
  readonly ref: Blobref
  readonly keys: number
  readonly size: number
}

type Totals = {
  readonly keys: number
  readonly size: number
  /** True if its last entry ends it, so that another node may follow. */
  readonly ended: boolean
}

/** A node of the lowest level. */
export type Leaf = Totals & {
  readonly kind: 'leaf'
  readonly level: 0
  readonly items: readonly DirEntry[]
}

/** A node above the leaves. */
export type Branch = Totals & {
  readonly kind: 'branch'
  readonly level: number
  readonly items: readonly Child[]
}

/** A node of a directory. */
export type DirNode = Leaf | Branch

/** Returns the leaf of these entries. `ended`: the last entry ends the node. */
export function makeLeaf(items: readonly DirEntry[], ended: boolean): Leaf {
  let keys = 0
  let size = 0
  for (const { treeobj } of items) {
    keys += keysOf(treeobj)
    size += sizeOf(treeobj)
  }
  return { kind: 'leaf', level: 0, items, keys, size, ended }
}

/** Returns the branch of these children. `ended`: the last child ends the node. */
export function makeBranch(level: number, items: readonly Child[], ended: boolean): Branch {
  let keys = 0
  let size = 0
  for (const child of items) {
    keys += child.keys
    size += child.size
  }
  return { kind: 'branch', level, items, keys, size, ended }
}

/** Returns the fields of a leaf, the kind first. */
export function encodeLeaf(leaf: Leaf): Plain {
  const names = leaf.items.map((entry) => entry.name)
  return [leafKind, names, leaf.items.map((entry) => encodeTreeobj(entry.treeobj))]
}

/** Returns the fields of a branch, the kind first. */
export function encodeBranch({ level, items }: Branch): Plain {
  const refs = Buffer.allocUnsafe(items.length * digestSize)
  for (const [at, child] of items.entries()) writeDigest(child.ref, refs, at * digestSize)
  const names = items.map((child) => child.name)
  const keys = items.map((child) => child.keys)
  return [branchKind, level, names, refs, keys, items.map((child) => child.size)]
}

/** Returns the leaf with these fields, which follow the kind. Throws ECORRUPT. */
export function decodeLeaf(fields: readonly unknown[]): Leaf {
  const [names, treeobjs] = asArray(fields, 2, 2)
  const ordered = asNames(names)
  const entries = asArray(treeobjs, ordered.length, ordered.length)
  const items = ordered.map((name, at) => ({ name, treeobj: decodeTreeobj(entries[at]) }))
  const ended = checkEnds(0, items, (entry) => weightOf(entry.treeobj))
  const leaf = makeLeaf(items, ended)
  asCount(leaf.keys)
  asCount(leaf.size)
  return leaf
}

/** Returns the branch with these fields, which follow the kind. Throws ECORRUPT. */
export function decodeBranch(fields: readonly unknown[]): Branch {
  const [levelField, names, refs, keysField, sizesField] = asArray(fields, 5, 5)
  const level = asCount(levelField, dirLevelMax)
  if (level === 0) throw corrupt('a branch of level 0')
  const ordered = asNames(names)
  const digests = asDigests(refs, ordered.length)
  const keys = asCounts(keysField, ordered.length)
  const sizes = asCounts(sizesField, ordered.length)
  sumOf(keys)
  sumOf(sizes)
  const items = ordered.map((name, at) => ({
    name,
    ref: blobrefAt(digests, at * digestSize),
    keys: keys[at] ?? 0,
    size: sizes[at] ?? 0,
  }))
  return makeBranch(
    level,
    items,
    checkEnds(level, items, () => childWeight),
  )
}

/** Returns the index of the first item whose name is not before `name`; the number
 *  of items if there is none. */
export function positionOf(items: readonly { readonly name: string }[], name: string): number {
  let low = 0
  let high = items.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const item = items[middle]
    if (item && compareNames(item.name, name) < 0) low = middle + 1
    else high = middle
  }
  return low
}

/** Returns `node` as a directory node. Throws ECORRUPT if it is not what `parent`
 *  says of its child at `at`. */
export function checkChild(node: { readonly kind: string }, parent: Branch, at: number): DirNode {
  const child = parent.items[at]
  if (!child || !isDirNode(node) || node.level !== parent.level - 1) {
    throw corrupt('a child that is no directory node of the level below')
  }
  const before = parent.items[at - 1]
  const first = node.items[0]
  const inOrder = !before || (first && compareNames(before.name, first.name) < 0)
  if (!inOrder || node.items.at(-1)?.name !== child.name) {
    throw corrupt('a child with names that belong elsewhere')
  }
  if (node.keys !== child.keys || node.size !== child.size) {
    throw corrupt('a child with other totals than it has')
  }
  if (at < parent.items.length - 1 && !node.ended) throw corrupt('a child that does not end there')
  return node
}

/** True if a node is one of a directory. */
export function isDirNode(node: { readonly kind: string }): node is DirNode {
  return node.kind === 'leaf' || node.kind === 'branch'
}

function asNames(input: unknown): readonly string[] {
  const names: string[] = []
  let before: string | undefined
  for (const name of asArray(input, 1, nodeNamesMax)) {
    if (typeof name !== 'string' || !isComponent(name)) throw corrupt('a name that no key can have')
    if (before !== undefined && compareNames(before, name) >= 0) throw corrupt('names out of order')
    names.push(name)
    before = name
  }
  return names
}

/** True if the last item ends the node. Throws ECORRUPT if an earlier one does. */
function checkEnds<Item extends { readonly name: string }>(
  level: number,
  items: readonly Item[],
  weigh: (item: Item) => number,
): boolean {
  const end = new NodeEnd(level)
  for (const [at, item] of items.entries()) {
    if (!end.after(item.name, weigh(item))) continue
    if (at < items.length - 1) throw corrupt('a node that goes on after its end')
    return true
  }
  return false
}
