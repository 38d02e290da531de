/** Differences between two directories: a walk over both at once, which skips what has the same ref
 *  in both. See rfc/5. */

import { LoopSlice } from '../base/loop-slice.js'
import { sameTreeobj } from '../treeobj/codec.js'
import { compareNames, isAddressable, joinKey, type Key, rootKey } from '../treeobj/key.js'
import { type Dir, emptyDir, type Treeobj } from '../treeobj/treeobj.js'
import { loadChild, loadTop, peekChild } from './dir.js'
import { type Branch, type Child, type DirEntry, type DirNode, positionOf } from './dir-node.js'
import type { Nodes } from './nodes.js'

/** A key whose treeobj differs. `before` is missing where the key was made,
 *  `after` where it was removed. */
export type Difference = {
  readonly key: Key
  readonly before?: Treeobj
  readonly after?: Treeobj
}

/** Yields the keys whose treeobjs differ, in order: the names of a directory by their UTF-8 bytes,
 *  and a directory before what is below it.
 *
 *  * A directory on both sides is not yielded, only what differs below it. A directory on one side
 *  only is yielded, and so is everything below it. A directory whose key is longer than
 *  `keySizeMax` is yielded where it differs, and nothing below it is.
 *
 *  * `under` is put before every key. `after` has the components of a key below the directories:
 *  the walk goes on behind that key, which need not be there, and does not read what is before it.
 *  Loads only nodes that differ, at the consumer's pace; the event loop turns meanwhile. Throws
 *  EDANGLING, ECORRUPT, EIO. */
export async function* diffDir(
  nodes: Nodes,
  before: Dir,
  after: Dir,
  options?: { readonly under?: Key; readonly after?: readonly string[] },
): AsyncGenerator<Difference> {
  const directory = options?.under ?? rootKey
  const [passed, ...rest] = options?.after ?? []
  if (before.ref === after.ref) return
  for await (const [name, old, now] of diffEntries(nodes, before, after, passed)) {
    const key = joinKey(directory, name)
    yield* diffTreeobj(nodes, key, old, now, name === passed ? { after: rest } : {})
  }
}

/** Yields what differs at one key: the key itself, unless it is a directory on both sides,
 *  and all below it as `diffDir` does. With `after`, the components of a key below it, the
 *  key itself is not yielded. */
export async function* diffTreeobj(
  nodes: Nodes,
  key: Key,
  before: Treeobj | undefined,
  after: Treeobj | undefined,
  options: { readonly after?: readonly string[] } = {},
): AsyncGenerator<Difference> {
  if (before && after && sameTreeobj(before, after)) return
  const [oldDir, nowDir] = [asDir(before), asDir(after)]
  const walked = (oldDir || nowDir) && isAddressable(key)
  const named = (before ?? after) && (!oldDir || !nowDir || !walked) && !options.after
  if (named) yield { key, ...(before && { before }), ...(after && { after }) }
  if (!walked) return
  yield* diffDir(nodes, oldDir ?? emptyDir, nowDir ?? emptyDir, {
    under: key,
    after: options.after ?? [],
  })
}

type EntryPair = readonly [name: string, before: Treeobj | undefined, after: Treeobj | undefined]

/** Yields the entries of one directory that differ, in order of their names,
 *  from the name `from` on. */
async function* diffEntries(
  nodes: Nodes,
  before: Dir,
  after: Dir,
  from: string | undefined,
): AsyncGenerator<EntryPair> {
  const old = await Front.of(nodes, before, from)
  const now = await Front.of(nodes, after, from)
  const slice = new LoopSlice()
  for (;;) {
    if (slice.over) await slice.turn()
    const [a, b] = [old.head, now.head]
    if (!a && !b) return
    if (a && b && sameHead(a, b)) {
      old.pass()
      now.pass()
      continue
    }
    // The side whose head is higher opens its node, both if they are equally high, until entries
    // meet.
    const level = Math.max(a?.level ?? 0, b?.level ?? 0)
    if (level > 0) {
      if (a?.level === level) await old.open()
      if (b?.level === level) await now.open()
      continue
    }
    const order = !a ? 1 : !b ? -1 : compareNames(a.item.name, b.item.name)
    if (order <= 0) old.pass()
    if (order >= 0) now.pass()
    const removed = order <= 0 ? treeobjOf(a) : undefined
    const added = order >= 0 ? treeobjOf(b) : undefined
    const name = (order <= 0 ? a : b)?.item.name
    if (name !== undefined) yield [name, removed, added]
  }
}

type Head =
  | { readonly level: 0; readonly item: DirEntry }
  /** A node of the level below, as a whole. */
  | { readonly level: number; readonly item: Child }

/** The rest of one side. Its head is the first node or entry of the rest.
 *  Mutable; owned by `diffEntries`. */
class Front {
  readonly #nodes: Nodes
  readonly #path: { readonly node: DirNode; at: number }[] = []

  private constructor(nodes: Nodes) {
    this.#nodes = nodes
  }

  /** Returns the side from the first entry on whose name is not before `from`. */
  static async of(nodes: Nodes, dir: Dir, from: string | undefined): Promise<Front> {
    const front = new Front(nodes)
    if (!dir.ref) return front
    front.#path.push({ node: await loadTop(nodes, dir, dir.ref), at: 0 })
    if (from !== undefined) await front.#seek(from)
    return front
  }

  async #seek(name: string): Promise<void> {
    for (;;) {
      const step = this.#path.at(-1)
      if (!step) return
      step.at = positionOf(step.node.items, name)
      // All names can be before it only in the top node.
      if (step.at === step.node.items.length) this.#path.pop()
      else if (step.node.kind === 'leaf') return
      else await this.open()
    }
  }

  /** The first node or entry of the rest; undefined at the end. */
  get head(): Head | undefined {
    const step = this.#path.at(-1)
    if (!step) return undefined
    const { node, at } = step
    if (node.kind === 'leaf') {
      const item = node.items[at]
      return item && { level: 0, item }
    }
    const item = node.items[at]
    return item && { level: node.level, item }
  }

  /** Drops the head. */
  pass(): void {
    for (let step = this.#path.at(-1); step; step = this.#path.at(-1)) {
      step.at++
      if (step.at < step.node.items.length) return
      this.#path.pop()
    }
  }

  /** Replaces the head, a node, by its entries. Throws EDANGLING, ECORRUPT, EIO. */
  async open(): Promise<void> {
    const step = this.#path.at(-1)
    if (step?.node.kind !== 'branch') return
    const branch: Branch = step.node
    const node =
      peekChild(this.#nodes, branch, step.at) ?? (await loadChild(this.#nodes, branch, step.at))
    this.#path.push({ node, at: 0 })
  }
}

function sameHead(a: Head, b: Head): boolean {
  if (a.level !== b.level || a.item.name !== b.item.name) return false
  if ('ref' in a.item && 'ref' in b.item) return a.item.ref === b.item.ref
  const [old, now] = [treeobjOf(a), treeobjOf(b)]
  return old !== undefined && now !== undefined && sameTreeobj(old, now)
}

function treeobjOf(head: Head | undefined): Treeobj | undefined {
  return head && 'treeobj' in head.item ? head.item.treeobj : undefined
}

function asDir(treeobj: Treeobj | undefined): Dir | undefined {
  return treeobj?.type === 'dir' ? treeobj : undefined
}
