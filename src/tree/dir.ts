/** Directories of any size, as prolly trees: lookup, listing, and the cursor of changes and walks.
 *  See rfc/5.
 *  Invariant: the ref of a Dir is a function of its names and treeobjs alone, never of its history.
 *  A node that is in memory is taken from there, so that a step rarely waits. */

import { LoopSlice } from '../base/loop-slice.js'
import type { Blobref } from '../blob/blobref.js'
import { corrupt } from '../treeobj/check.js'
import type { Dir, Treeobj } from '../treeobj/treeobj.js'
import {
  type Branch,
  type Child,
  checkChild,
  type DirNode,
  isDirNode,
  positionOf,
} from './dir-node.js'
import type { Node } from './node.js'
import type { Nodes } from './nodes.js'

/** The result of a peek that would have to load a node. */
export const notInMemory: unique symbol = Symbol('notInMemory')

/** Returns what a name of a directory names; undefined if the name is not there. Throws
 *  EDANGLING, ECORRUPT, EIO. */
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

/** Returns what `getEntry` returns, but without a load: `notInMemory` if a node
 *  would have to be loaded. */
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

/** Yields the names of a directory with what they name, in UTF-8 byte order, from the first one
 *  behind `after`. Loads each leaf when the consumer gets there; the event loop turns meanwhile.
 *  Throws EDANGLING, ECORRUPT, EIO. */
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

/** Loads the root node of a directory. REQUIRES: `ref` is the directory's. Throws
 *  EDANGLING, ECORRUPT, EIO. */
export async function loadTop(nodes: Nodes, dir: Dir, ref: Blobref): Promise<DirNode> {
  return checkTop(nodes.peek(ref) ?? (await nodes.load(ref)), dir)
}

/** Returns the root node of a directory if it is in memory. Throws ECORRUPT. */
function peekTop(nodes: Nodes, dir: Dir, ref: Blobref): DirNode | undefined {
  const node = nodes.peek(ref)
  return node && checkTop(node, dir)
}

/** Returns the child of `branch` at `at` if it is in memory. Throws ECORRUPT. */
export function peekChild(nodes: Nodes, branch: Branch, at: number): DirNode | undefined {
  const node = nodes.peek(refAt(branch, at))
  return node && checkChild(node, branch, at)
}

/** Loads the child of `branch` at `at`. Throws EDANGLING, ECORRUPT, EIO. */
export async function loadChild(nodes: Nodes, branch: Branch, at: number): Promise<DirNode> {
  return checkChild(await nodes.load(refAt(branch, at)), branch, at)
}

type Step = { readonly branch: Branch; at: number }

/** A place on one level of a directory, which moves from node to node. Mutable; owned
 *  by the loop that made it. */
export class DirCursor {
  readonly #nodes: Nodes
  readonly #level: number
  /** The branches above the node, root first, each with the index of the child on the way. */
  readonly #path: Step[] = []
  #node: DirNode

  private constructor(nodes: Nodes, top: DirNode, level: number) {
    this.#nodes = nodes
    this.#level = level
    this.#node = top
  }

  /** Returns a cursor at the node of `level` that holds `name` or would hold it: the first node
   *  that ends at or after it, or else the last one. Without a name it is at the first node.
   *  REQUIRES: `level` is at most that of `top`. Throws EDANGLING, ECORRUPT, EIO. */
  static async seek(
    nodes: Nodes,
    top: DirNode,
    level: number,
    name: string | undefined,
  ): Promise<DirCursor> {
    const cursor = new DirCursor(nodes, top, level)
    await cursor.#descend(name)
    return cursor
  }

  get node(): DirNode {
    return this.#node
  }

  /** The entry of the node in its parent; undefined for the root. */
  get child(): Child | undefined {
    const above = this.#path.at(-1)
    return above?.branch.items[above.at]
  }

  /** True if the node is the first of its level. */
  get first(): boolean {
    return this.#path.every((step) => step.at === 0)
  }

  /** True if the node is the last of its level. */
  get last(): boolean {
    return this.#path.every(isLast)
  }

  /** True if the node is the next one behind that of `before`. REQUIRES: both are on the same level
   *  of the same tree. */
  follows(before: DirCursor): boolean {
    const pairs = this.#path.map((step, depth) => ({ step, old: before.#path[depth] }))
    const fork = pairs.findIndex(({ step, old }) => old?.at !== step.at)
    return pairs.every(({ step, old }, depth) => {
      if (depth < fork || !old) return true
      if (depth === fork) return step.at === old.at + 1
      return step.at === 0 && isLast(old)
    })
  }

  /** Goes on to the next node of the level. False, without a move, if there is none. Throws
   *  EDANGLING, ECORRUPT, EIO. */
  async next(): Promise<boolean> {
    let depth = this.#path.length - 1
    for (; depth >= 0; depth--) {
      const step = this.#path[depth]
      if (step && !isLast(step)) break
    }
    const step = this.#path[depth]
    if (!step) return false
    this.#path.length = depth + 1
    step.at++
    this.#node = await this.#childOf(step.branch, step.at)
    await this.#descend(undefined)
    return true
  }

  async #descend(name: string | undefined): Promise<void> {
    while (this.#node.kind === 'branch' && this.#node.level > this.#level) {
      const branch: Branch = this.#node
      const position = name === undefined ? 0 : positionOf(branch.items, name)
      const at = Math.min(position, branch.items.length - 1)
      this.#path.push({ branch, at })
      this.#node = await this.#childOf(branch, at)
    }
  }

  async #childOf(branch: Branch, at: number): Promise<DirNode> {
    return peekChild(this.#nodes, branch, at) ?? (await loadChild(this.#nodes, branch, at))
  }
}

function isLast({ branch, at }: Step): boolean {
  return at === branch.items.length - 1
}

function checkTop(node: Node, dir: Dir): DirNode {
  if (!isDirNode(node)) throw corrupt('no directory where a directory is named')
  if (node.keys !== dir.keys || node.size !== dir.size) {
    throw corrupt('a directory with other totals than its entry says')
  }
  if (node.kind === 'branch' && node.items.length < 2) throw corrupt('a root with one child')
  return node
}

function refAt(branch: Branch, at: number): Blobref {
  const child = branch.items[at]
  if (!child) throw corrupt('fewer children than its names promise')
  return child.ref
}
