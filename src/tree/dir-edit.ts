/** Changes of a directory, level by level: only the nodes that a change touches are made anew. See
 *  rfc/5.
 *  Invariant: the result is the same as if all entries were cut into nodes from the first one on.
 *  The end of a node does not depend on what comes before its start. So work stops at the first old
 *  node that begins where a new one would, and goes on at the next change. */

import assert from 'node:assert/strict'
import { LoopSlice } from '../base/loop-slice.js'
import type { Blobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import { corrupt } from '../treeobj/check.js'
import { takeTreeobj } from '../treeobj/codec.js'
import { compareNames, isComponent } from '../treeobj/key.js'
import { type Dir, emptyDir, type Treeobj } from '../treeobj/treeobj.js'
import { DirCursor, loadTop } from './dir.js'
import {
  type Child,
  type DirEntry,
  type DirNode,
  dirLevelMax,
  makeBranch,
  makeLeaf,
} from './dir-node.js'
import { childWeight, NodeEnd, weightOf } from './node-end.js'
import type { NodeSink, Nodes } from './nodes.js'

/** The functions of one level of the tree, which read entries from old nodes, weigh
 *  them, and make new nodes. */
type Layer<Item> = {
  readonly level: number
  readonly itemsOf: (node: DirNode) => readonly Item[]
  readonly weigh: (item: Item) => number
  readonly make: (items: readonly Item[], ended: boolean) => DirNode
}

type Edit<Item> = { readonly name: string; readonly item: Item | undefined }

/** The entries of a new node. */
type Chunk<Item> = { readonly items: readonly Item[]; readonly ended: boolean }

type Named = { readonly name: string }

const leaves: Layer<DirEntry> = {
  level: 0,
  itemsOf: (node) => {
    if (node.kind !== 'leaf') throw corrupt('a branch where a leaf is named')
    return node.items
  },
  weigh: (entry) => weightOf(entry.treeobj),
  make: makeLeaf,
}

/** Returns the directory with each name of `edits` set to its treeobj, or removed where that is
 *  undefined. New nodes go to the writer. Throws EINVAL (a name or a treeobj that cannot be
 *  stored), EDANGLING, ECORRUPT, EIO. */
export async function editDir(
  nodes: Nodes,
  writer: NodeSink,
  dir: Dir,
  edits: ReadonlyMap<string, Treeobj | undefined>,
): Promise<Dir> {
  if (edits.size === 0) return dir
  const top = dir.ref === undefined ? undefined : await loadTop(nodes, dir, dir.ref)
  const edit = new LevelEdit(leaves, parseEdits(edits))
  await edit.run(nodes, top)
  if (edit.whole && edit.kept + edit.chunks.length === 0) return emptyDir
  return climb({ nodes, writer, dir, top }, leaves, edit)
}

type Climb = {
  readonly nodes: Nodes
  readonly writer: NodeSink
  readonly dir: Dir
  readonly top: DirNode | undefined
}

/** Writes the new nodes of a level and edits the level above with them, until a level has a single
 *  node: the root. Bounded by `dirLevelMax`. */
async function climb<Item extends Named>(
  way: Climb,
  layer: Layer<Item>,
  edit: LevelEdit<Item>,
): Promise<Dir> {
  const slice = new LoopSlice({ urgent: true })
  const added: Child[] = []
  for (const chunk of edit.chunks) {
    added.push(writeChunk(way.writer, layer, chunk))
    if (slice.over) await slice.turn()
  }
  const [only] = added
  if (only && edit.whole && edit.kept + added.length === 1) return dirOf(only)
  const edits = editsAbove(edit.removed, added)
  if (edits.length === 0) return way.dir
  const level = layer.level + 1
  if (level > dirLevelMax) throw corrupt('more levels than a directory can have')
  const above = branches(level)
  const editAbove = new LevelEdit(above, edits)
  await editAbove.run(way.nodes, way.top && way.top.level >= level ? way.top : undefined)
  const child = onlyItem(editAbove)
  return child ? dirOf(child) : climb(way, above, editAbove)
}

function writeChunk<Item extends Named>(
  writer: NodeSink,
  layer: Layer<Item>,
  { items, ended }: Chunk<Item>,
): Child {
  const node = layer.make(items, ended)
  const last = items[items.length - 1]
  assert(last, 'a chunk holds at least one item')
  return { name: last.name, ref: writer.write(node), keys: node.keys, size: node.size }
}

/** Returns the single child of a level that would be one node with one child: that child is the
 *  root. Undefined for other levels. */
function onlyItem(edit: LevelEdit<Child>): Child | undefined {
  const [chunk, ...others] = edit.chunks
  if (!chunk || others.length > 0 || edit.kept > 0 || !edit.whole) return undefined
  return chunk.items.length === 1 ? chunk.items[0] : undefined
}

/** The work on one level: it merges old nodes and edits in order of their names, and cuts them into
 *  new nodes. Mutable; owned by `climb`. */
class LevelEdit<Item extends Named> {
  readonly removed: Child[] = []
  readonly chunks: Chunk<Item>[] = []
  /** The number of old nodes that were read and stay. */
  kept = 0
  /** True if `chunks` and the kept nodes are the whole level. */
  whole = true

  readonly #layer: Layer<Item>
  readonly #edits: readonly Edit<Item>[]
  readonly #end: NodeEnd
  #next = 0
  /** The items since the last cut. */
  #open: Item[] = []

  /** REQUIRES: `edits` are in order of their names. */
  constructor(layer: Layer<Item>, edits: readonly Edit<Item>[]) {
    this.#layer = layer
    this.#edits = edits
    this.#end = new NodeEnd(layer.level)
  }

  /** Applies the edits. `top` is the old root; undefined if the level is new. Throws
   *  EDANGLING, ECORRUPT, EIO. */
  async run(nodes: Nodes, top: DirNode | undefined): Promise<void> {
    if (!top) return this.#finish()
    const slice = new LoopSlice({ urgent: true })
    let before: DirCursor | undefined
    for (let edit = this.#edits[0]; edit; edit = this.#edits[this.#next]) {
      const cursor = await DirCursor.seek(nodes, top, this.#layer.level, edit.name)
      if (!(before ? cursor.follows(before) : cursor.first)) this.whole = false
      if (await this.#runToEnd(cursor, slice)) return this.#finish()
      before = cursor
    }
    this.whole = false
  }

  /** Merges old nodes until the next one begins where a new one would. True
   *  at the end of the level. */
  async #runToEnd(cursor: DirCursor, slice: LoopSlice): Promise<boolean> {
    for (;;) {
      this.#mergeNode(cursor.node, cursor.child)
      if (cursor.last) return true
      if (slice.over) await slice.turn()
      if (this.#open.length === 0) return false
      await cursor.next()
    }
  }

  #mergeNode(node: DirNode, child: Child | undefined): void {
    const fresh = this.#open.length === 0
    const chunksBefore = this.chunks.length
    const changed = this.#merge(this.#layer.itemsOf(node))
    // No branch names the root, so that the level above has nothing to remove for it.
    if (!child) return
    if (changed || !fresh || this.#open.length > 0 || this.chunks.length === chunksBefore) {
      this.removed.push(child)
      return
    }
    this.chunks.length = chunksBefore
    this.kept++
  }

  /** Merges the items of an old node with the edits. True if an edit changed something. */
  #merge(items: readonly Item[]): boolean {
    let changed = false
    for (const item of items) {
      let edit = this.#edits[this.#next]
      let order = edit ? compareNames(edit.name, item.name) : 1
      while (edit && order < 0) {
        changed = this.#apply(edit) || changed
        edit = this.#edits[this.#next]
        order = edit ? compareNames(edit.name, item.name) : 1
      }
      if (!edit || order > 0) {
        this.#take(item)
        continue
      }
      this.#apply(edit)
      changed = true
    }
    return changed
  }

  #apply(edit: Edit<Item>): boolean {
    this.#next++
    if (!edit.item) return false
    this.#take(edit.item)
    return true
  }

  #take(item: Item): void {
    this.#open.push(item)
    if (this.#end.after(item.name, this.#layer.weigh(item))) this.#cut({ ended: true })
  }

  #cut({ ended }: { readonly ended: boolean }): void {
    this.chunks.push({ items: this.#open, ended })
    this.#open = []
  }

  #finish(): void {
    for (let edit = this.#edits[this.#next]; edit; edit = this.#edits[this.#next]) this.#apply(edit)
    if (this.#open.length > 0) this.#cut({ ended: false })
  }
}

function branches(level: number): Layer<Child> {
  return {
    level,
    itemsOf: (node) => {
      if (node.kind !== 'branch' || node.level !== level) throw corrupt('a node of another level')
      return node.items
    },
    weigh: () => childWeight,
    make: (items, ended) => makeBranch(level, items, ended),
  }
}

/** Returns the edits that the level above needs. */
function editsAbove(removed: readonly Child[], added: readonly Child[]): Edit<Child>[] {
  const edits = new Map<string, Child | undefined>()
  const gone = new Map<string, Blobref>()
  for (const child of removed) {
    edits.set(child.name, undefined)
    gone.set(child.name, child.ref)
  }
  for (const child of added) {
    if (gone.get(child.name) === child.ref) edits.delete(child.name)
    else edits.set(child.name, child)
  }
  return inOrder([...edits].map(([name, item]) => ({ name, item })))
}

function parseEdits(edits: ReadonlyMap<string, Treeobj | undefined>): Edit<DirEntry>[] {
  const parsed: Edit<DirEntry>[] = []
  for (const [name, treeobj] of edits) {
    if (!isComponent(name)) {
      throw new TailraceError('EINVAL', `"${name}" cannot be a name in a directory`)
    }
    parsed.push({ name, item: treeobj && { name, treeobj: takeTreeobj(treeobj) } })
  }
  return inOrder(parsed)
}

function inOrder<Item>(edits: Edit<Item>[]): Edit<Item>[] {
  return edits.sort((a, b) => compareNames(a.name, b.name))
}

function dirOf({ ref, keys, size }: Child): Dir {
  return { type: 'dir', ref, keys, size }
}
