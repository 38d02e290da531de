/** One level of an append array in memory, with those above it: an immutable state that shares its
 *  entries with the states that follow. See rfc/5.
 *  Invariant: what a level shows never changes. The places behind its entries may be filled by the
 *  states that follow it, each place once; who would fill a place a second time copies first. */

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

/** Room for a page of entries. `digests` and `marks` are only ever written behind `filled`. */
type Slots = {
  readonly digests: Uint8Array
  readonly marks: number[]
  filled: number
}

/** Level 0 is the array itself. */
export type ArrayLevel = {
  readonly level: number
  /** Blobs of this level and of those above it. */
  readonly count: number
  /** Their bytes. */
  readonly size: number
  readonly slots: Slots
  /** Those of the slots that belong to this state. */
  readonly entries: number
  /** The level above; undefined where no page was closed yet. */
  readonly up: ArrayLevel | undefined
  /** What is known of its node: the ref, computed at most once, and whether it need not be written again. */
  readonly node: { ref: Blobref | undefined; written: boolean }
}

export function emptyLevel(level: number, up: ArrayLevel | undefined): ArrayLevel {
  return levelOf(level, { digests: Buffer.alloc(0), marks: [], filled: 0 }, 0, up)
}

/** A level whose entries are the first `entries` of these. */
export function levelFrom(
  { level, digests, marks }: Entries,
  entries: number,
  up: ArrayLevel | undefined,
): ArrayLevel {
  // No place is free behind them, so that a push copies them first.
  const own = digests.subarray(0, entries * digestSize)
  return levelOf(
    level,
    { digests: own, marks: marks.slice(0, entries), filled: entries },
    entries,
    up,
  )
}

/** The entries of this level alone, oldest first. */
export function entriesOfLevel({ level, slots, entries }: ArrayLevel): Entries {
  return {
    level,
    digests: slots.digests.subarray(0, entries * digestSize),
    marks: slots.marks.slice(0, entries),
  }
}

/** The level with one entry more. One that gets full becomes a page, and an entry of the level above. */
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
  const page = sink.write({ kind: 'page', level, digests, marks })
  const above = up ?? emptyLevel(level + 1, undefined)
  return emptyLevel(level, pushEntry(sink, above, page, size - above.size))
}

/** Writes nothing. */
export function refOfLevel(array: ArrayLevel): Blobref {
  array.node.ref ??= hashNode(encodeNode(openNode(array)))
  return array.node.ref
}

/** Writes a level's node and those above it, but for those that are stored, or that a writer took
 *  before: above the first level nothing changes between the closings of two pages. What a writer took
 *  of the first level is not remembered: the empty array, for one, is closed in many stores. */
export function writeLevel(writer: NodeSink, array: ArrayLevel): Blobref {
  if (array.node.written) return refOfLevel(array)
  if (array.up) writeLevel(writer, array.up)
  const ref = writer.write(openNode(array))
  array.node.ref = ref
  array.node.written = array.level > 0
  return ref
}

/** Says of a level that it was read from a stored node. */
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

/** Slots whose next place is free. */
function slotsBehind({ slots, entries }: ArrayLevel): Slots {
  const room = slots.digests.length > entries * digestSize
  if (room && slots.filled === entries) return slots
  const digests = Buffer.allocUnsafeSlow(fanout * digestSize)
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
