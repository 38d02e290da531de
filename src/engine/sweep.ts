/** Plans one step of a collection over a part of a segment: which blobs are dropped, which move. See
 *  rfc/4, rule 27. Pure, but for the questions that it asks.
 *  Invariant: a blob is dropped only if the index finds it at this very place, and it is neither in
 *  use nor spared. */

import type { Blobref } from '../blob/blobref.js'
import type { Place } from '../journal/place.js'
import type { FoundRecord } from '../journal/scan.js'
import { type SweepStep, sweepRefsMax, sweepStepSize } from './engine.js'

/** A blob in a segment. */
export type SweptBlob = { readonly ref: Blobref; readonly place: Place }

/** A part of a segment's blobs: at most `sweepRefsMax` of them, of at most `sweepStepSize` bytes and
 *  one blob. */
export type SegmentPart = {
  readonly found: readonly SweptBlob[]
  /** The bytes of these blobs. */
  readonly size: number
  /** The offset at which the next part begins; undefined at the end of the segment. */
  readonly next: number | undefined
}

/** The changes that a step makes to some blobs of a segment. */
export type SweepPlan = {
  /** The blobs that are dropped. */
  readonly dropped: readonly SweptBlob[]
  /** The blobs that the index did not find there before: copies, and blobs that were dropped. */
  readonly gone: readonly SweptBlob[]
  /** The blobs that stay. */
  readonly live: readonly SweptBlob[]
}

/** The questions of a plan. */
type SweepQuestions = Pick<SweepStep, 'live'> & {
  readonly place: (ref: Blobref) => Place | undefined
  readonly isSpared: (ref: Blobref) => boolean
}

/** Takes a bounded part of the blobs of records. A part may begin and end within a record: `after` is
 *  the offset of a record plus the number of its blobs that earlier parts had. `rest` is where the
 *  records behind these go on, undefined where none do. */
export function partOf(
  records: readonly FoundRecord[],
  after: number,
  rest: number | undefined,
): SegmentPart {
  const found: SweptBlob[] = []
  let size = 0
  for (const { at, end, bodyAt, segment, blobs } of records) {
    if (end <= after) continue
    for (let index = Math.max(0, after - at); index < blobs.length; index++) {
      if (found.length >= sweepRefsMax || size >= sweepStepSize)
        return { found, size, next: at + index }
      const blob = blobs[index]
      if (!blob) continue
      const { ref, offset, length } = blob
      found.push({ ref, place: { segment, offset: bodyAt + offset, length } })
      size += length
    }
  }
  return { found, size, next: rest }
}

/** Decides about each blob, until `isOver` is true. Asks `live` once for each blob that the index finds
 *  there. `count` is the number of blobs that it decided about. */
export function planSweep(
  found: Iterable<SweptBlob>,
  questions: SweepQuestions,
  isOver: (count: number) => boolean = () => false,
): SweepPlan & { readonly count: number } {
  const dropped: SweptBlob[] = []
  const gone: SweptBlob[] = []
  const live: SweptBlob[] = []
  let count = 0
  for (const blob of found) {
    const { ref, place } = blob
    if (!isAt(questions.place(ref), place)) gone.push(blob)
    else if (questions.live(ref, place.length) || questions.isSpared(ref)) live.push(blob)
    else dropped.push(blob)
    if (isOver(++count)) break
  }
  return { dropped, gone, live, count }
}

/** True if the index finds a blob at this very place. */
export function isAt(found: Place | undefined, place: Place): boolean {
  return found?.segment === place.segment && found.offset === place.offset
}

/** Joins the places of blobs that lie side by side, in the order of their offsets. REQUIRES: all are in one
 *  segment. */
export function rangesOf(found: readonly SweptBlob[]): Place[] {
  const ranges: { segment: number; offset: number; length: number }[] = []
  for (const { place } of [...found].sort((a, b) => a.place.offset - b.place.offset)) {
    const range = ranges.at(-1)
    if (range && range.offset + range.length === place.offset) range.length += place.length
    else ranges.push({ ...place })
  }
  return ranges
}

/** Returns the bytes of some blobs. */
export function sizeOf(found: readonly SweptBlob[]): number {
  return found.reduce((sum, { place }) => sum + place.length, 0)
}

/** The phase in which a segment is: its dead blobs are dropped, or its live ones move away. */
export type Phase = 'drop' | 'move'

/** A position of a collection. */
export type SweepPosition = {
  readonly segment: number
  readonly phase: Phase
  readonly offset: number
}

/** Encodes a position as a number that grows. */
export function encodeSweep({ segment, phase, offset }: SweepPosition): number {
  return (segment * 2 + (phase === 'move' ? 1 : 0)) * 0x1_0000_0000 + offset
}

/** Decodes a position. */
export function parseSweep(position: number): SweepPosition {
  const high = Math.floor(position / 0x1_0000_0000)
  return {
    segment: Math.floor(high / 2),
    phase: high % 2 === 1 ? 'move' : 'drop',
    offset: position % 0x1_0000_0000,
  }
}
