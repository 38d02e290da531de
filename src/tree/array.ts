/** Append arrays: the blobs of a growing value in a tree of pages, which grows like a counter with
 *  the base `fanout`. Reads are in `array-read.ts`. See rfc/5.
 *  Invariant: an AppendArray never changes. Its shape, and so its ref, is a function of the
 *  sequence of (ref, size, more) alone. */

import { type Blobref, blobrefAt } from '../blob/blobref.js'
import { hashBlob } from '../blob/hash.js'
import { corrupt } from '../treeobj/check.js'
import type { Attrs, Base, Val, Valref } from '../treeobj/treeobj.js'
import {
  type ArrayLevel,
  emptyLevel,
  levelFrom,
  markStored,
  pushEntry,
  refOfLevel,
  writeLevel,
} from './array-level.js'
import { markOf, type OpenNode } from './array-node.js'
import type { Node } from './node.js'
import { hashOnly, type NodeSink, type Nodes } from './nodes.js'

/** An append array. Only its `count` (blobs) and its `size` (bytes) are for others. */
export type AppendArray = ArrayLevel

/** A blob of an array. `size` is in bytes. `more` is true if the next blob belongs
 *  to the same append or put. */
export type ArrayBlob = {
  readonly ref: Blobref
  readonly size: number
  readonly more: boolean
}

/** The array without blobs. */
export const emptyArray: AppendArray = emptyLevel(0, undefined)

/** Loads the array of a value. Throws EDANGLING, ECORRUPT, EIO. */
export async function openArray(nodes: Nodes, valref: Valref): Promise<AppendArray> {
  if (valref.count === 1) return arrayOfOne(valref)
  const levels: OpenNode[] = []
  for (let ref: Blobref | undefined = valref.ref; ref; ref = levels.at(-1)?.up) {
    levels.push(asOpen(nodes.peek(ref) ?? (await nodes.load(ref)), levels.length))
  }
  return assemble(levels, valref)
}

/** Returns the array of a value if its open nodes are in memory, else
 *  undefined. Throws ECORRUPT. */
export function peekArray(nodes: Nodes, valref: Valref): AppendArray | undefined {
  if (valref.count === 1) return arrayOfOne(valref)
  const levels: OpenNode[] = []
  for (let ref: Blobref | undefined = valref.ref; ref; ref = levels.at(-1)?.up) {
    const node = nodes.peek(ref)
    if (!node) return undefined
    levels.push(asOpen(node, levels.length))
  }
  return assemble(levels, valref)
}

/** Loads the array of any value; an inline value becomes the only blob of its array. Throws
 *  EDANGLING, ECORRUPT, EIO. */
export async function arrayOf(nodes: Nodes, treeobj: Val | Valref): Promise<AppendArray> {
  return treeobj.type === 'valref' ? openArray(nodes, treeobj) : arrayOfInline(treeobj)
}

/** Returns the array whose only blob is an inline value. */
export function arrayOfInline({ data }: Val): AppendArray {
  return pushBlob(hashOnly, emptyArray, { ref: hashBlob(data), size: data.length, more: false })
}

/** Returns the array with one more blob; `array` does not change. A page that gets full is written
 *  to the writer (`hashOnly` if nobody will store the array). REQUIRES: the writer's blobs are
 *  stored before, or together with, a root that names the result. */
export function pushBlob(writer: NodeSink, array: AppendArray, blob: ArrayBlob): AppendArray {
  return pushEntry(writer, array, blob.ref, markOf(blob.size, blob.more))
}

/** Returns the value of an array, and writes those of its open nodes that were not written yet. An
 *  array of one blob has no node: its value names the blob itself, and drops its `more`, since no
 *  blob follows. `base`: the blobs and bytes that trims dropped, if any. REQUIRES: the writer's
 *  blobs are stored before, or together with, a root that names the value. */
export function closeArray(
  writer: NodeSink,
  array: AppendArray,
  attrs?: Attrs,
  base?: Base,
): Valref {
  const { count, size } = array
  const ref = count === 1 ? blobrefAt(array.slots.digests, 0) : writeLevel(writer, array)
  return { type: 'valref', ref, count, size, ...(base && { base }), ...(attrs && { attrs }) }
}

/** Returns the ref of the array's root node, for every count (0 and 1 too). Writes nothing. */
export function arrayRef(array: AppendArray): Blobref {
  return refOfLevel(array)
}

function arrayOfOne({ ref, size }: Valref): AppendArray {
  return pushBlob(hashOnly, emptyArray, { ref, size, more: false })
}

function asOpen(node: Node, level: number): OpenNode {
  if (node.kind !== 'open' || node.level !== level) {
    throw corrupt(`something else than level ${level} of an array`)
  }
  return node
}

/** Returns the array of stored open nodes, which `levels` has from level 0 up. Throws ECORRUPT. */
function assemble(levels: readonly OpenNode[], valref: Valref): AppendArray {
  let array: AppendArray | undefined
  for (const [at, node] of [...levels.entries()].reverse()) {
    array = levelFrom(node, node.marks.length, array)
    if (array.count !== node.count || array.size !== node.size) {
      throw corrupt('an array with other totals than its levels have')
    }
    markStored(array, levels[at - 1]?.up ?? valref.ref)
  }
  if (!array || array.count !== valref.count || array.size !== valref.size) {
    throw corrupt('an array with other totals than its entry says')
  }
  return array
}
