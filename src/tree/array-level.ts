/** A level of an append array in memory, together with the levels above it: an immutable state that
 *  shares its slots with later states. See rfc/5.
 *  Invariant: the entries of a level never change. Later states may fill the slots behind them,
 *  each slot once; a state that finds its next slot filled copies all its slots first. */

import assert from 'node:assert/strict'
import { type Blobref, digestSize, writeDigest } from '../blob/blobref.js'
import { hashNode } from '../blob/hash.js'
import {
  arrayLevelMax,
  type Entries,
  fanout,
  type OpenNode,
  sizeOfMark,
  widthOf,
} from './array-node.js'
import { encodeNode } from './node.js'
import type { NodeSink } from './nodes.js'

/** The smallest number of slots that are made at once. */
const slotsMin = 4

/** The space for the entries of a page. `digests` and `marks` are only written
 *  at `filled` or after it. */
type Slots = {
  readonly digests: Uint8Array
  readonly marks: number[]
  filled: number
}

/** A level with those above it. Level 0 is the array itself. */
export type ArrayLevel = {
  readonly level: number
  /** The number of blobs of this level and of those above it. */
  readonly count: number
  /** The bytes of these blobs. */
  readonly size: number
  readonly slots: Slots
  /** The number of slots that belong to this state. */
  readonly entries: number
  /** The level above; undefined if no page of this level was closed yet. */
  readonly up: ArrayLevel | undefined
  /** The ref of its node, computed at most once; `written` is true if it
   *  need not be written again. */
  readonly node: { ref: Blobref | undefined; written: boolean }
}

/** Returns a level without entries, below `up`. */
export function emptyLevel(level: number, up: ArrayLevel | undefined): ArrayLevel {
  return levelOf(level, { digests: Buffer.alloc(0), marks: [], filled: 0 }, 0, up)
}

/** Returns a level with the first `entries` of these entries, below `up`. */
export function levelFrom(
  { level, digests, marks }: Entries,
  entries: number,
  up: ArrayLevel | undefined,
): ArrayLevel {
  // These slots have no free one behind them, so that a push copies them.
  const own = digests.subarray(0, entries * digestSize)
  return levelOf(
    level,
    { digests: own, marks: marks.slice(0, entries), filled: entries },
    entries,
    up,
  )
}

/** Returns the entries of this level only, oldest first. */
export function entriesOfLevel({ level, slots, entries }: ArrayLevel): Entries {
  return {
    level,
    digests: slots.digests.subarray(0, entries * digestSize),
    marks: slots.marks.slice(0, entries),
  }
}

/** Returns the level with one more entry. A level that gets full becomes a page, which is written
 *  to `sink`, and an entry of the level above. */
export function pushEntry(
  sink: NodeSink,
  array: ArrayLevel,
  ref: Blobref,
  mark: number,
): ArrayLevel {
  const { level, entries, up } = array
  assert(level <= arrayLevelMax, 'an array has no more blobs than an integer can count')
  const slots = slotsBehind(array)
  const { digests, marks } = slots
  writeDigest(ref, asBuffer(digests), entries * digestSize)
  marks.push(mark)
  slots.filled++
  const size = array.size + sizeOfMark(mark, level)
  if (entries + 1 < fanout) {
    const count = array.count + widthOf(level)
    const node = { ref: undefined, written: false }
    return { level, count, size, slots, entries: entries + 1, up, node }
  }
  assert(digests.length === fanout * digestSize, 'a full level has a page of slots')
  const page = sink.write({ kind: 'page', level, digests, marks })
  const above = up ?? emptyLevel(level + 1, undefined)
  return emptyLevel(level, pushEntry(sink, above, page, size - above.size))
}

/** Returns the ref of a level's node. Writes nothing. */
export function refOfLevel(array: ArrayLevel): Blobref {
  array.node.ref ??= hashNode(encodeNode(openNode(array)))
  return array.node.ref
}

/** Writes the nodes of a level and of those above it, and returns the level's ref. Nodes that were
 *  read from the store are not written again, and neither are nodes above level 0 that were written
 *  before: these change only when a page is closed. A write of level 0 is not remembered, since one
 *  state may be closed in several stores; the empty array is. */
export function writeLevel(writer: NodeSink, array: ArrayLevel): Blobref {
  if (array.node.written) return refOfLevel(array)
  if (array.up) writeLevel(writer, array.up)
  const ref = writer.write(openNode(array))
  array.node.ref = ref
  array.node.written = array.level > 0
  return ref
}

/** Marks a level as read from the stored node `ref`. */
export function markStored(array: ArrayLevel, ref: Blobref): void {
  array.node.ref = ref
  array.node.written = true
}

function levelOf(
  level: number,
  slots: Slots,
  entries: number,
  up: ArrayLevel | undefined,
): ArrayLevel {
  let size = up?.size ?? 0
  for (const mark of slots.marks.slice(0, entries)) size += sizeOfMark(mark, level)
  const count = (up?.count ?? 0) + entries * widthOf(level)
  return { level, count, size, slots, entries, up, node: { ref: undefined, written: false } }
}

/** Returns the level's slots if the one behind its entries is free, else a copy with free slots. */
function slotsBehind({ slots, entries }: ArrayLevel): Slots {
  const room = slots.digests.length > entries * digestSize
  if (room && slots.filled === entries) return slots
  // Most logs are short, and there may be many: the slots grow with their entries.
  const count = Math.min(fanout, Math.max(slotsMin, 2 * entries))
  const digests = Buffer.allocUnsafeSlow(count * digestSize)
  digests.set(slots.digests.subarray(0, entries * digestSize))
  return { digests, marks: slots.marks.slice(0, entries), filled: entries }
}

function openNode(array: ArrayLevel): OpenNode {
  const { count, size, up } = array
  return { kind: 'open', count, size, up: up && refOfLevel(up), ...entriesOfLevel(array) }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
