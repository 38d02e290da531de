/** Walks over everything that a tree needs to be whole: the refs of its nodes and of its values'
 *  blobs, without those below the base of a trimmed log. See rfc/5. */

import { LoopSlice } from '../base/loop-slice.js'
import { type Blobref, blobrefAt, digestSize } from '../blob/blobref.js'
import { RefSet } from '../blob/ref-set.js'
import { type Entries, type OpenNode, widthOf } from '../tree/array-node.js'
import type { Node } from '../tree/node.js'
import type { Nodes } from '../tree/nodes.js'
import type { Treeobj } from '../treeobj/treeobj.js'

/** A ref that is needed. `partial`: the node itself is needed, but only a part of what it names,
 *  because it belongs to a log whose base is above the rest. */
export type Reached = {
  readonly ref: Blobref
  readonly kind: 'node' | 'blob'
  readonly partial?: true
}

/** A ref that waits to be walked. `cut`: of a node of an array only the blobs from `base` on are
 *  needed; `index` is that of the first blob below the node. */
type Step = {
  readonly ref: Blobref
  readonly kind: 'node' | 'blob'
  readonly cut?: { readonly base: number; readonly index: number }
}

/** True if a ref was yielded before as this kind, with all that is below it. */
export type Seen = (ref: Blobref, kind: Reached['kind']) => boolean

/** Called with a node that cannot be loaded, and its error. The walk then leaves out all that is
 *  below the node, unless the function throws, which ends the walk. */
type Lost = (ref: Blobref, error: unknown) => void

/** Yields what a treeobj names, and all that is reachable from there, parents before children. A
 *  ref for which `seen` is true is left out with all that is below it; `seen` is called each time
 *  the walk meets a ref.
 *
 *  * A trimmed log may share its nodes with a log that has all its blobs (a copy, an older root).
 *  So `seen` may be true only for a ref that was yielded **without** `partial`, as the same kind. A
 *  caller that marks keeps two facts of a ref: it is needed (it was yielded), and all below it was
 *  yielded (it came once without `partial`). Then every ref is walked as a whole at most once, and
 *  only the few nodes that hold a base are walked in part each time a log leads to them.
 *
 *  * Memory: the refs of one node for each level. The event loop turns meanwhile. Throws EDANGLING,
 *  ECORRUPT, EIO, unless `lost` takes the error. */
export async function* reachable(
  nodes: Nodes,
  from: Treeobj,
  seen: Seen,
  lost: Lost = rethrow,
): AsyncGenerator<Reached> {
  yield* reach(nodes, stepsOfTreeobj(from), { seen, lost })
}

/** Yields what `reachable` yields, beginning at a node: the root node of
 *  a namespace, for example. */
export async function* reachableFrom(
  nodes: Nodes,
  ref: Blobref,
  seen: Seen,
  lost: Lost = rethrow,
): AsyncGenerator<Reached> {
  yield* reach(nodes, [{ ref, kind: 'node' }], { seen, lost })
}

async function* reach(
  nodes: Nodes,
  from: readonly Step[],
  { seen, lost }: { readonly seen: Seen; readonly lost: Lost },
): AsyncGenerator<Reached> {
  const waiting = [...from]
  const slice = new LoopSlice()
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const { ref, kind, cut } = next
    if (slice.over) await slice.turn()
    if (seen(ref, kind)) continue
    yield cut ? { ref, kind, partial: true } : { ref, kind }
    if (kind === 'blob') continue
    const node = nodes.peek(ref) ?? (await nodes.load(ref).catch((error) => lost(ref, error)))
    if (!node) continue
    waiting.push(...stepsOfNode(node, cut).reverse())
  }
}

function rethrow(_: Blobref, error: unknown): never {
  throw error
}

function stepsOfNode(node: Node, cut: Step['cut']): Step[] {
  switch (node.kind) {
    case 'root':
      return [...stepsOfTreeobj(node.data), ...stepsOfTreeobj(node.meta)]
    case 'leaf':
      return node.items.flatMap((entry) => stepsOfTreeobj(entry.treeobj))
    case 'branch':
      return node.items.map((child) => ({ ref: child.ref, kind: 'node' }))
    case 'open':
      return stepsOfOpen(node, cut?.base ?? 0)
    case 'page':
      return stepsOfEntries(node, cut?.index ?? 0, cut?.base ?? 0)
    default:
      return node satisfies never
  }
}

function stepsOfTreeobj(treeobj: Treeobj): Step[] {
  switch (treeobj.type) {
    case 'val':
    case 'symlink':
      return []
    case 'valref': {
      const { ref, count, base } = treeobj
      if (count === 1) return base ? [] : [{ ref, kind: 'blob' }]
      return [{ ref, kind: 'node', ...(base && { cut: { base: base.count, index: 0 } }) }]
    }
    case 'dir':
      return treeobj.ref === undefined ? [] : [{ ref: treeobj.ref, kind: 'node' }]
    default:
      return treeobj satisfies never
  }
}

/** Returns the steps of an open node. The open nodes above it are needed whatever was dropped,
 *  since appends go on from them. */
function stepsOfOpen(node: OpenNode, base: number): Step[] {
  const { level, marks, count, up } = node
  const cut = base > 0 ? { cut: { base, index: 0 } } : {}
  const above: Step[] = up ? [{ ref: up, kind: 'node', ...cut }] : []
  return [...above, ...stepsOfEntries(node, count - marks.length * widthOf(level), base)]
}

/** Returns the steps of the entries that hold blobs from `base` on. `index` is that of the first
 *  blob below the first entry. */
function stepsOfEntries({ level, digests, marks }: Entries, index: number, base: number): Step[] {
  const width = widthOf(level)
  const kind = level === 0 ? 'blob' : 'node'
  const steps: Step[] = []
  for (let at = 0; at < marks.length; at++) {
    const first = index + at * width
    if (first + width <= base) continue
    const ref = blobrefAt(digests, at * digestSize)
    steps.push(first < base ? { ref, kind, cut: { base, index: first } } : { ref, kind })
  }
  return steps
}

/** The set. Mutable; owned by the walk that fills it. */
export class ReachedSet {
  readonly #nodes = new RefSet()
  readonly #blobs = new RefSet()

  /** True if the ref was added as this kind: the `seen` of `reachable`. */
  readonly has = (ref: Blobref, kind: Reached['kind']): boolean => this.#of(kind).has(ref)

  /** Adds a ref that a walk yielded. REQUIRES: it is not partial. */
  add({ ref, kind }: Reached): void {
    this.#of(kind).add(ref)
  }

  #of(kind: Reached['kind']): RefSet {
    return kind === 'node' ? this.#nodes : this.#blobs
  }
}
