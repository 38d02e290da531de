/** The nodes of an append array: pages are closed and full, the open node of each level holds what
 *  does not fill a page yet. See rfc/5.
 *  Invariant: entries of level 0 are blobs, entries of level k are pages of level k - 1. */

import { blobSizeMax } from '../blob/blob.js'
import { type Blobref, digestSize } from '../blob/blobref.js'
import type { Plain } from '../blob/codec.js'
import { asArray, asCount, asCounts, asDigests, asRef, corrupt, sumOf } from './check.js'
import { encodeRef } from './treeobj-codec.js'

export const openKind = 4
export const pageKind = 5

/** Entries of a page. */
export const fanout = 32
/** 32 ^ 10 blobs: as many as an integer can count. */
export const arrayLevelMax = 10

/** What stands beside the ref of a blob: its size, and whether more of the same append follows. */
export function markOf(size: number, more: boolean): number {
  return size * 2 + (more ? 1 : 0)
}

/** The bytes of an entry: below level 0 an entry's mark is its bytes. */
export function sizeOfMark(mark: number, level: number): number {
  return level === 0 ? mark >>> 1 : mark
}

export function moreOfMark(mark: number): boolean {
  return mark % 2 === 1
}

/** Blobs of one entry of a level. */
export function widthOf(level: number): number {
  return fanout ** level
}

/** Refs as digests, one after the other, and a mark beside each. */
export type Entries = {
  readonly level: number
  readonly digests: Uint8Array
  readonly marks: readonly number[]
}

export type OpenNode = Entries & {
  readonly kind: 'open'
  /** Blobs of this node and of all above it. */
  readonly count: number
  /** Their bytes. */
  readonly size: number
  /** The open node of the level above. */
  readonly up: Blobref | undefined
}

export type ArrayPage = Entries & { readonly kind: 'page' }

export function encodeOpen(node: OpenNode): Plain {
  const { level, count, size, digests, marks, up } = node
  return [openKind, level, count, size, digests, marks, up ? encodeRef(up) : null]
}

export function encodePage({ level, digests, marks }: ArrayPage): Plain {
  return [pageKind, level, digests, marks]
}

/** `fields` follow the kind. Throws ECORRUPT. */
export function decodeOpen(fields: readonly unknown[]): OpenNode {
  const [levelField, countField, sizeField, refs, marksField, upField] = asArray(fields, 6, 6)
  const level = asCount(levelField, arrayLevelMax)
  const marks = asMarks(asArray(marksField, 0, fanout - 1), level)
  const digests = asDigests(refs, marks.length)
  const [count, size] = [asCount(countField), asCount(sizeField)]
  const up = upField === null ? undefined : asRef(upField)
  const above = count - marks.length * widthOf(level)
  const sizeAbove = size - sizeOfMarks(marks, level)
  if (above < 0 || above % widthOf(level + 1) !== 0 || above > 0 !== (up !== undefined)) {
    throw corrupt(`a count of ${count} that its ${marks.length} entries contradict`)
  }
  if (sizeAbove < 0 || (above === 0 && sizeAbove > 0)) {
    throw corrupt(`a size of ${size} that its entries contradict`)
  }
  if (count === 0 && level > 0) throw corrupt('an empty level above an array')
  return { kind: 'open', level, count, size, digests, marks, up }
}

/** `fields` follow the kind. Throws ECORRUPT. */
export function decodePage(fields: readonly unknown[]): ArrayPage {
  const [levelField, refs, marksField] = asArray(fields, 3, 3)
  const level = asCount(levelField, arrayLevelMax)
  const marks = asMarks(asArray(marksField, fanout, fanout), level)
  sizeOfMarks(marks, level)
  return { kind: 'page', level, digests: asDigests(refs, fanout), marks }
}

/** The bytes of all entries. Throws ECORRUPT where no integer can hold them. */
export function sizeOfMarks(marks: readonly number[], level: number): number {
  return sumOf(level === 0 ? marks.map((mark) => sizeOfMark(mark, 0)) : marks)
}

/** A copy of what stands in the first `entries` places. */
export function firstEntries(digests: Uint8Array, entries: number): Uint8Array {
  return digests.subarray(0, entries * digestSize)
}

function asMarks(input: readonly unknown[], level: number): readonly number[] {
  const marks = asCounts(input, input.length)
  if (level === 0 && marks.some((mark) => mark > markOf(blobSizeMax, true))) {
    throw corrupt('a blob above the blob limit')
  }
  return marks
}
