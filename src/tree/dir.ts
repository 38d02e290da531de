/** Directories of any size: lookup, listing, and the cursor that changes and walks go by. A prolly tree. See rfc/5.
 *  Invariant: a Dir's ref is a function of its names and treeobjs alone, never of its history. Nodes are taken from
 *  memory where they are there, so that a step rarely waits. */

import { LoopSlice } from '../base/loop-slice.js'
import type { Blobref } from '../blob/blobref.js'
import { corrupt } from './check.js'
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
import type { Dir, Treeobj } from './treeobj.js'

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

/** The root node of a directory that is not empty. Throws EDANGLING, ECORRUPT, EIO. */
export async function loadTop(nodes: Nodes, dir: Dir, ref: Blobref): Promise<DirNode> {
  return checkTop(nodes.peek(ref) ?? (await nodes.load(ref)), dir)
}

/** The same, if it is in memory. */
export function peekTop(nodes: Nodes, dir: Dir, ref: Blobref): DirNode | undefined {
  const node = nodes.peek(ref)
  return node && checkTop(node, dir)
}

/** The child of `branch` at `at`, if it is in memory. Throws ECORRUPT. */
export function peekChild(nodes: Nodes, branch: Branch, at: number): DirNode | undefined {
  const node = nodes.peek(refAt(branch, at))
  return node && checkChild(node, branch, at)
}

/** The child of `branch` at `at`. Throws EDANGLING, ECORRUPT, EIO. */
export async function loadChild(nodes: Nodes, branch: Branch, at: number): Promise<DirNode> {
  return checkChild(await nodes.load(refAt(branch, at)), branch, at)
}

type Step = { readonly branch: Branch; at: number }

/** Mutable; owned by the one loop that made it. */
export class DirCursor {
  readonly #nodes: Nodes
  readonly #level: number
  /** The branches above, root first, and which child of each the way takes. */
  readonly #path: Step[] = []
  #node: DirNode

  private constructor(nodes: Nodes, top: DirNode, level: number) {
    this.#nodes = nodes
    this.#level = level
    this.#node = top
  }

  /** At the node of `level` that holds `name` or would: the first that ends at or after it, or else
   *  the last. Without a name: the first. REQUIRES: `level` is at most the top's. */
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

  /** As its parent names it; undefined for the root. */
  get child(): Child | undefined {
    const above = this.#path.at(-1)
    return above?.branch.items[above.at]
  }

  /** Is it the first of its level? */
  get first(): boolean {
    return this.#path.every((step) => step.at === 0)
  }

  /** Is it the last of its level? */
  get last(): boolean {
    return this.#path.every(isLast)
  }

  /** Is it the next after `before`, on the same level of the same tree? */
  follows(before: DirCursor): boolean {
    const pairs = this.#path.map((step, depth) => ({ step, old: before.#path[depth] }))
    const fork = pairs.findIndex(({ step, old }) => old?.at !== step.at)
    return pairs.every(({ step, old }, depth) => {
      if (depth < fork || !old) return true
      if (depth === fork) return step.at === old.at + 1
      return step.at === 0 && isLast(old)
    })
  }

  /** Goes on to the next node of the level; false, and stays, where there is none. */
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
