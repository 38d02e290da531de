/** Finds the records of a segment again after a crash, and tells a torn tail from damage. See rfc/21,
 *  rules 8 and 9.
 *  Invariant: nothing is written. A record is found only if its head is whole; the last one of the
 *  journal only if its body is whole, too. */

import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { hashBlob, hashNode } from '../blob/hash.js'
import { TailraceError } from '../error.js'
import { fixedSize, markSize, parseFixed, parseHead, type RecordHead } from './record.js'
import { headerSize, parseHeader, type SegmentHeader, segmentName } from './segment.js'
import { headOf, segmentsIn } from './segment-io.js'
import { Window } from './window.js'

/** A record in its segment. */
export type FoundRecord = RecordHead & {
  readonly segment: number
  /** The offset of the record in the segment's file, in bytes. */
  readonly at: number
  /** The offset of the body. */
  readonly bodyAt: number
  /** The offset behind the record. */
  readonly end: number
}

/** Reads the record at an offset. Undefined where no whole head is there. A body may reach behind
 *  the end of the file. Throws ECORRUPT, and what node:fs throws. */
export async function recordAt(
  window: Window,
  header: SegmentHeader,
  at: number,
): Promise<FoundRecord | undefined> {
  const start = await window.bytes(at, fixedSize)
  if (start.length < fixedSize) return undefined
  const fixed = parseFixed(start, header.mark)
  if (!fixed || at + fixedSize + fixed.headSize > window.size) return undefined
  const head = parseHead(await window.bytes(at, fixedSize + fixed.headSize), fixed)
  if (!head) return undefined
  const bodyAt = at + fixedSize + fixed.headSize
  return { ...head, segment: header.id, at, bodyAt, end: at + head.size }
}

/** Yields the records of a segment from an offset on, whose numbers follow `after` without a gap.
 *  It ends where the next one is not whole; the caller looks if the segment ends there. Throws
 *  ECORRUPT, and what node:fs throws. */
export async function* recordsFrom(
  window: Window,
  header: SegmentHeader,
  from: { readonly offset: number; readonly after: number },
): AsyncGenerator<FoundRecord> {
  let { offset, after } = from
  for (;;) {
    const record = await recordAt(window, header, offset)
    if (!record || record.number !== after + 1 || record.end > window.size) return
    yield record
    offset = record.end
    after = record.number
  }
}

/** Resolves to true if the bytes of all blobs of a record are those that its refs name. */
export async function isBodyWhole(window: Window, record: FoundRecord): Promise<boolean> {
  for (const { ref, offset, length } of record.blobs) {
    const bytes = await window.bytes(record.bodyAt + offset, length)
    if (bytes.length < length) return false
    if (hashBlob(bytes) !== ref && hashNode(bytes) !== ref) return false
  }
  return true
}

/** Finds the first whole record with a number above `after` behind an offset. Where there is one, what
 *  is at the offset is damage: a record is written only after the one before it was durable. Throws
 *  what node:fs throws. */
export async function recordBehind(
  window: Window,
  header: SegmentHeader,
  from: { readonly offset: number; readonly after: number },
): Promise<FoundRecord | undefined> {
  const step = 128 * 1024
  for (let at = from.offset + 1; at < window.size; at += step) {
    const bytes = await window.bytes(at, step + markSize - 1)
    for (let found = bytes.indexOf(header.mark); found >= 0; ) {
      const record = await recordAt(window, header, at + found).catch(ignoreDamage)
      if (record && record.number > from.after) return record
      found = bytes.indexOf(header.mark, found + 1)
    }
  }
  return undefined
}

/** A range of a segment's file in which no whole head of a record is, where one should be. */
export type SegmentDamage = { readonly from: number; readonly to: number }

/** Finds what is damaged of a segment's header and of the heads of its records. A record whose body
 *  the file does not have is damage, too. Bodies are not read: each blob is checked by its digest.
 *  Throws what node:fs throws. */
export async function damagesIn(window: Window, id: number): Promise<SegmentDamage[]> {
  const damages: SegmentDamage[] = []
  const bytes = await window.bytes(0, headerSize + markSize)
  const found = parseHeader(bytes)
  if (found?.id !== id) damages.push({ from: 0, to: Math.min(headerSize, window.size) })
  // Without a header the first record tells with which bytes each of them begins.
  const mark = Buffer.from(bytes.subarray(headerSize, headerSize + markSize))
  const header = found ?? { id, first: 0, mark }
  let after = 0
  for (let at = headerSize; at < window.size; ) {
    const record = await recordAt(window, header, at).catch(ignoreDamage)
    if (record && record.end <= window.size) {
      after = record.number
      at = record.end
      continue
    }
    const next = await recordBehind(window, header, { offset: at, after })
    const to = next?.at ?? window.size
    damages.push({ from: at, to })
    at = to
  }
  return damages
}

/** The state of a journal that nobody has open, as far as its headers and the heads of its last segment
 *  tell. */
export type JournalLook =
  | { readonly state: 'missing' | 'whole' }
  /** The end of a record that was not written: the next opening cuts it off. */
  | { readonly state: 'torn'; readonly path: string; readonly from: number; readonly size: number }
  | { readonly state: 'damaged'; readonly path: string; readonly from: number }

/** Looks at the headers of all segments, and at the heads of the records in the last one. Changes
 *  nothing. REQUIRES: nobody writes to the journal. Throws what node:fs throws. */
export async function lookAtJournal(directory: string): Promise<JournalLook> {
  const ids = await segmentsIn(directory)
  for (const [index, id] of ids.entries()) {
    const path = join(directory, segmentName(id))
    const { header, size } = await headOf(path)
    if (header?.id === id) continue
    const isBeingMade = index > 0 && index === ids.length - 1 && size <= headerSize
    return isBeingMade
      ? { state: 'torn', path, from: 0, size }
      : { state: 'damaged', path, from: 0 }
  }
  const last = ids.at(-1)
  return last === undefined ? { state: 'missing' } : lookAtSegment(directory, last)
}

async function lookAtSegment(directory: string, id: number): Promise<JournalLook> {
  const path = join(directory, segmentName(id))
  const file = await open(path, 'r')
  try {
    const window = new Window(file, (await file.stat()).size)
    const header = parseHeader(await window.bytes(0, headerSize))
    if (!header) return { state: 'damaged', path, from: 0 }
    let end = { offset: headerSize, after: header.first - 1 }
    try {
      for await (const record of recordsFrom(window, header, end)) {
        end = { offset: record.end, after: record.number }
      }
    } catch (error) {
      ignoreDamage(error)
    }
    if (end.offset === window.size) return { state: 'whole' }
    const next = await recordBehind(window, header, end)
    if (next) return { state: 'damaged', path, from: end.offset }
    return { state: 'torn', path, from: end.offset, size: window.size - end.offset }
  } finally {
    await file.close()
  }
}

/** A right seal over a head that cannot be read is no record. Throws everything else. */
function ignoreDamage(error: unknown): undefined {
  if (error instanceof TailraceError && error.code === 'ECORRUPT') return undefined
  throw error
}
