/** Reads the blobs of segments part by part, for the steps of one collection. See rfc/4, rule 27.
 *  Invariant: a record is parsed once, though many parts are taken of it. */

import { isCode } from '../error.js'
import type { Journal } from '../journal/journal.js'
import type { Point } from '../journal/place.js'
import type { FoundRecord } from '../journal/scan.js'
import { sweepRefsMax, sweepStepSize } from './engine.js'
import { partOf, type SegmentPart, type SweepPosition } from './sweep.js'

/** The records of a segment from an offset on, up to `next`. */
type Read = {
  readonly segment: number
  readonly after: number
  readonly records: readonly FoundRecord[]
  readonly next: number | undefined
}

/** The reader of one collection. Mutable: it keeps the records of its last call. */
export class PartReader {
  readonly #journal: Journal
  #read: Read | undefined

  constructor(journal: Journal) {
    this.#journal = journal
  }

  /** Reads a part of a segment; up to `until`, if that lies in it. Undefined where the segment is not
   *  there, or a head in it is damaged: then it stays as it is, with what can be read of it. */
  async part(
    { segment, offset }: SweepPosition,
    until: Point | undefined,
  ): Promise<SegmentPart | undefined> {
    const read = await this.#records(segment, offset)
    if (!read) return undefined
    const isLast = segment === until?.segment
    const records = isLast ? read.records.filter(({ end }) => end <= until.offset) : read.records
    const behind = records.length < read.records.length || (isLast && read.next === until.offset)
    return partOf(records, offset, behind ? undefined : read.next)
  }

  /** Reads records from an offset on. Those of the last call are kept: a record of many blobs has many
   *  parts. */
  async #records(segment: number, after: number): Promise<Read | undefined> {
    const read = this.#read
    const isRead = read?.segment === segment && read.after <= after
    if (isRead && read.next !== undefined && after < read.next) return read
    try {
      const bounds = { blobs: sweepRefsMax, size: sweepStepSize, after }
      const found = await this.#journal.records(segment, bounds)
      this.#read = found && { ...found, segment, after }
      return this.#read
    } catch (error) {
      if (isCode(error, 'ECORRUPT')) return undefined
      throw error
    }
  }
}
