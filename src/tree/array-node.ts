/** The nodes of an append array: pages are full and closed; the open node of each level holds the
 *  entries that do not fill a page yet. See rfc/5.
 *  Invariant: entries of level 0 are blobs, entries of level k are pages of level k - 1. */

import { blobSizeMax } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import type { Plain } from '../blob/codec.js'
import { asArray, asCount, asCounts, asDigests, asRef, corrupt, sumOf } from '../treeobj/check.js'
import { encodeRef } from '../treeobj/codec.js'

/** The first elements of the encodings: the kinds of the open node and of the page. */
export const openKind = 4
export const pageKind = 5

/** The number of entries of a page. */
export const fanout = 32
/** The highest level: enough for as many blobs as an integer can count. */
export const arrayLevelMax = 10

/** Returns the mark of a blob, which stands beside its ref: its size in bytes, and if more blobs of
 *  the same append follow. */
export function markOf(size: number, more: boolean): number {
  return size * 2 + (more ? 1 : 0)
}

/** Returns the bytes of an entry. Above level 0 the mark is the number of bytes itself. */
export function sizeOfMark(mark: number, level: number): number {
  return level === 0 ? mark >>> 1 : mark
}

/** True if more blobs of the same append follow. REQUIRES: the mark is one of level 0. */
export function moreOfMark(mark: number): boolean {
  return mark % 2 === 1
}

/** Returns the number of blobs below one entry of a level. */
export function widthOf(level: number): number {
  return fanout ** level
}

/** The entries of a node: their refs as digests, one after the other, and a mark for each. */
export type Entries = {
  readonly level: number
  readonly digests: Uint8Array
  readonly marks: readonly number[]
}

/** The open node of a level. */
export type OpenNode = Entries & {
  readonly kind: 'open'
  /** The number of blobs of this node and of all open nodes above it. */
  readonly count: number
  /** The bytes of these blobs. */
  readonly size: number
  /** The open node of the level above. */
  readonly up: Blobref | undefined
}

/** A page: a full node, which never changes. */
export type ArrayPage = Entries & { readonly kind: 'page' }

/** Returns the fields of an open node, the kind first. */
export function encodeOpen(node: OpenNode): Plain {
  const { level, count, size, digests, marks, up } = node
  return [openKind, level, count, size, digests, marks, up ? encodeRef(up) : null]
}

/** Returns the fields of a page, the kind first. */
export function encodePage({ level, digests, marks }: ArrayPage): Plain {
  return [pageKind, level, digests, marks]
}

/** Returns the open node with these fields, which follow the kind. Throws ECORRUPT. */
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

/** Returns the page with these fields, which follow the kind. Throws ECORRUPT. */
export function decodePage(fields: readonly unknown[]): ArrayPage {
  const [levelField, refs, marksField] = asArray(fields, 3, 3)
  const level = asCount(levelField, arrayLevelMax)
  const marks = asMarks(asArray(marksField, fanout, fanout), level)
  sizeOfMarks(marks, level)
  return { kind: 'page', level, digests: asDigests(refs, fanout), marks }
}

/** Returns the bytes of all entries. Throws ECORRUPT if no integer can hold the sum. */
export function sizeOfMarks(marks: readonly number[], level: number): number {
  return sumOf(level === 0 ? marks.map((mark) => sizeOfMark(mark, 0)) : marks)
}

function asMarks(input: readonly unknown[], level: number): readonly number[] {
  const marks = asCounts(input, input.length)
  if (level === 0 && marks.some((mark) => mark > markOf(blobSizeMax, true))) {
    throw corrupt('a blob above the blob limit')
  }
  return marks
}
