/** Append arrays: the blobs of a growing value, as an F-ary counter of pages. See rfc/5.
 *  Invariant: an AppendArray never changes, and its shape (so its ref) is a function of the sequence of
 *  (ref, size, more) alone. Reads are in `array-read.ts`. */

import { type Blobref, blobrefAt } from '../blob/blobref.js'
import { hashBlob } from '../blob/hash.js'
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
import { corrupt } from './check.js'
import type { Node } from './node.js'
import { hashOnly, type NodeSink, type Nodes } from './nodes.js'
import type { Attrs, Base, Val, Valref } from './treeobj.js'

/** Opaque but for `count` (blobs) and `size` (bytes). */
export type AppendArray = ArrayLevel

/** `more`: the next blob belongs to the same append or put. `size` in bytes. */
export type ArrayBlob = {
  readonly ref: Blobref
  readonly size: number
  readonly more: boolean
}

export const emptyArray: AppendArray = emptyLevel(0, undefined)

/** The array of a value. Throws EDANGLING, ECORRUPT, EIO. */
export async function openArray(nodes: Nodes, valref: Valref): Promise<AppendArray> {
  if (valref.count === 1) return arrayOfOne(valref)
  const levels: OpenNode[] = []
  for (let ref: Blobref | undefined = valref.ref; ref; ref = levels.at(-1)?.up) {
    levels.push(asOpen(nodes.peek(ref) ?? (await nodes.load(ref)), levels.length))
  }
  return assemble(levels, valref)
}

/** As `openArray`, without waiting: undefined where a node would have to be loaded. */
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

/** The array of a value; an inline one is its array's only blob. Throws EDANGLING, ECORRUPT, EIO. */
export async function arrayOf(nodes: Nodes, treeobj: Val | Valref): Promise<AppendArray> {
  return treeobj.type === 'valref' ? openArray(nodes, treeobj) : arrayOfInline(treeobj)
}

export function arrayOfInline({ data }: Val): AppendArray {
  return pushBlob(hashOnly, emptyArray, { ref: hashBlob(data), size: data.length, more: false })
}

/** The array with one blob more; `array` stays as it is. A page that fills up goes to the writer
 *  (`hashOnly` where nobody will store the array). REQUIRES: who stores what follows from the result
 *  commits that writer's blobs first. */
export function pushBlob(writer: NodeSink, array: AppendArray, blob: ArrayBlob): AppendArray {
  return pushEntry(writer, array, blob.ref, markOf(blob.size, blob.more))
}

/** The value of the array, whose open nodes go to the writer unless one took them before. An array of
 *  one blob is named by that blob and has no node: its `more`, which nothing follows, is not kept.
 *  `base`: what was dropped of it, if anything was. REQUIRES: as `pushBlob`. */
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

/** The ref of the array's root node, whatever the count (0 and 1 too). Writes nothing. */
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

/** `levels` from 0 up, as they are stored. */
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
