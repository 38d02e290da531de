/** Finds the records of a journal again when it is opened, and cuts off what is left of one that was
 *  not written to its end. See rfc/21, rules 8 to 10.
 *  Invariant: a record that was acknowledged stays. Where damage is found, nothing is changed. */

import { constants } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { syncDirectory } from '../base/make-directory.js'
import type { PlacedRecord, Point } from './place.js'
import { type FoundRecord, isBodyWhole, recordBehind, recordsFrom } from './scan.js'
import { headerSize, type SegmentHeader, segmentName } from './segment.js'
import { chunkSize, damaged, headOf, segmentsIn, writeFully } from './segment-io.js'
import { readFully, Window } from './window.js'

/** Reads the records behind a point, and makes the end of the journal ready for the next one. Calls
 *  `onRecord` with each of them, in order. Throws ECORRUPT (damage before the end: nothing is changed
 *  then), and what node:fs throws. */
export async function replay(
  directory: string,
  from: Point,
  onRecord: (record: PlacedRecord) => void,
): Promise<{ header: SegmentHeader; end: Point }> {
  const ids = (await segmentsIn(directory)).filter((id) => id >= from.segment)
  let end = from
  let header: SegmentHeader | undefined
  let last = ids.at(-1) ?? 0
  for (const [index, id] of ids.entries()) {
    const path = join(directory, segmentName(id))
    const isLast = index === ids.length - 1
    if (id !== from.segment + index) break
    const head = await headOf(path)
    // The segment was being made when the power went, or when a sync failed. It has no record, and its
    // name need not be on the disk, even if another sync of the directory succeeds now.
    if (isLast && id > from.segment && head.size <= headerSize) {
      await rm(path)
      await syncDirectory(directory)
      last = end.segment
      break
    }
    if (!head.header || head.header.id !== id) throw damaged(path, 'has no header')
    header = head.header
    if (id > from.segment) {
      if (header.first !== end.number + 1) throw damaged(path, 'does not follow the one before')
      end = { segment: id, offset: headerSize, number: end.number }
    }
    if (head.size < end.offset) throw damaged(path, `was cut to ${head.size} bytes`)
    end = await replaySegment(path, header, { from: end, isLast, onRecord })
  }
  if (!header || last > end.segment) {
    const path = join(directory, segmentName(header ? end.segment + 1 : from.segment))
    throw damaged(path, 'is missing')
  }
  return { header, end }
}

async function replaySegment(
  path: string,
  header: SegmentHeader,
  options: {
    readonly from: Point
    readonly isLast: boolean
    readonly onRecord: (record: PlacedRecord) => void
  },
): Promise<Point> {
  const { from, isLast, onRecord } = options
  const file = await open(path, isLast ? constants.O_RDWR : constants.O_RDONLY)
  try {
    const window = new Window(file, (await file.stat()).size)
    let end = from
    let last: FoundRecord | undefined
    for await (const record of recordsFrom(window, header, {
      offset: from.offset,
      after: from.number,
    })) {
      if (last) onRecord(placed(last))
      last = record
      end = { segment: header.id, offset: record.end, number: record.number }
    }
    if (last && isLast && !(await isBodyWhole(window, last))) {
      end = { segment: header.id, offset: last.at, number: last.number - 1 }
      last = undefined
    }
    if (end.offset < window.size) {
      const behind = { offset: end.offset, after: end.number }
      if (!isLast || (await recordBehind(window, header, behind))) {
        throw damaged(path, `at byte ${end.offset}`)
      }
      await file.truncate(end.offset)
    }
    if (isLast && (last || end.offset < window.size)) await settle(file, last)
    if (last) onRecord(placed(last))
    return end
  } finally {
    await file.close()
  }
}

/** Writes the last record once more as it is, and syncs the file. A sync of it may have failed
 *  before: then what a read returns need not be on the disk, and a further sync would not say so. */
async function settle(file: FileHandle, last: FoundRecord | undefined): Promise<void> {
  for (let at = last?.at ?? 0; last && at < last.end; at += chunkSize) {
    const bytes = await readFully(file, at, Math.min(chunkSize, last.end - at))
    await writeFully(file, bytes, at)
  }
  await file.sync()
}

/** Returns a record with places. Keys and values are copied: as they were read they are views of far
 *  larger pieces of the file. */
function placed(record: FoundRecord): PlacedRecord {
  const { segment, number, end, bodyAt } = record
  const blobs = record.blobs.map(
    ({ ref, offset, length }) => [ref, { segment, offset: bodyAt + offset, length }] as const,
  )
  const changes = record.changes.map(({ table, key, value }) => {
    return { table, key: new Uint8Array(key), value: value && new Uint8Array(value) }
  })
  return { blobs, changes, end: { segment, offset: end, number } }
}
