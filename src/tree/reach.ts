/** Everything that a tree needs to be whole: the refs of its nodes and of its values' blobs, but for what
 *  lies below the base of a trimmed log. See rfc/5. */

import { LoopSlice } from '../base/loop-slice.js'
import { type Blobref, blobrefAt, digestSize } from '../blob/blobref.js'
import { type Entries, type OpenNode, widthOf } from './array-node.js'
import type { Node } from './node.js'
import type { Nodes } from './nodes.js'
import type { Treeobj } from './treeobj.js'

/** A ref that is needed. `partial`: the node itself is, and only a part of what it names: it belongs to a
 *  log whose base is above some of that. */
export type Reached = {
  readonly ref: Blobref
  readonly kind: 'node' | 'blob'
  readonly partial?: true
}

/** A ref that is on the way; of an array's nodes, what they hold from blob `base` on, the first blob below
 *  them being `index`. */
type Step = {
  readonly ref: Blobref
  readonly kind: 'node' | 'blob'
  readonly cut?: { readonly base: number; readonly index: number }
}

/** Was it met before, as that, with all below it? */
export type Seen = (ref: Blobref, kind: Reached['kind']) => boolean

/** Told of a node that cannot be loaded, which is then left out with all below it; what it throws ends the
 *  walk. */
export type Lost = (ref: Blobref, error: unknown) => void

/** What a treeobj names, and all that is reachable from there, parents before children. A ref for which
 *  `seen` says true is left out with all below it; it is asked again each time a ref is met.
 *
 *  The nodes of a trimmed log may be those of another one that has all its blobs (a copy, an older root).
 *  So `seen` says true only of what was yielded **without** `partial`, as that kind: whoever marks keeps two facts of a
 *  ref, that it is needed (yielded at all), and that all below it was yielded too (once without
 *  `partial`). One who does meets every ref whole at most once, and parts of the few nodes that hold a base
 *  each time a log leads there. Memory: one node's refs a level. The event loop turns meanwhile. Throws EDANGLING, ECORRUPT, EIO, but for
 *  what `lost` takes. */
export async function* reachable(
  nodes: Nodes,
  from: Treeobj,
  seen: Seen,
  lost: Lost = rethrow,
): AsyncGenerator<Reached> {
  yield* reach(nodes, stepsOfTreeobj(from), { seen, lost })
}

/** The same from a node, a namespace's root node for example. */
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

/** The open nodes above are needed whatever was dropped: what is appended goes on from them. */
function stepsOfOpen(node: OpenNode, base: number): Step[] {
  const { level, marks, count, up } = node
  const cut = base > 0 ? { cut: { base, index: 0 } } : {}
  const above: Step[] = up ? [{ ref: up, kind: 'node', ...cut }] : []
  return [...above, ...stepsOfEntries(node, count - marks.length * widthOf(level), base)]
}

/** `index` is that of the first blob below the first entry. */
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
