/** The points between the records of a journal, and the places of blobs in it. See rfc/21.
 *  Invariant: a place stays right until its segment is removed. */

import type { Blobref } from '../blob/blobref.js'
import type { Change } from './record.js'
import { headerSize } from './segment.js'

/** A point between two records. */
export type Point = {
  readonly segment: number
  /** The offset in the segment's file, in bytes. */
  readonly offset: number
  /** The number of the last record before the point; 0 before the first one. */
  readonly number: number
}

/** The place of a blob: its segment, its offset in the file, and its length, in bytes. */
export type Place = { readonly segment: number; readonly offset: number; readonly length: number }

/** The point at which a new journal begins. */
export const journalStart: Point = { segment: 1, offset: headerSize, number: 0 }

/** The blobs of a record with their places. */
export type PlacedRecord = {
  readonly blobs: readonly (readonly [Blobref, Place])[]
  readonly changes: readonly Change[]
  /** The point behind the record. */
  readonly end: Point
}
