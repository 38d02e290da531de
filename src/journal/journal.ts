/** The journal: an append-only log of records in segment files. One write makes a record durable;
 *  what is in it stays readable by its place. See rfc/21.
 *  Invariant: records follow one another without a gap, in the order of their numbers. A record that
 *  `append` has answered is durable, and is there after any crash. */

import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, readdir, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { makeDirectory, syncDirectory } from '../base/make-directory.js'
import { punchHole } from '../base/posix.js'
import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import { type Change, encodeHead, markSize, recordSizeMax } from './record.js'
import { type FoundRecord, hasRecordBehind, isBodyWhole, recordAt, recordsFrom } from './scan.js'
import {
  encodeHeader,
  headerSize,
  parseHeader,
  parseSegmentName,
  type SegmentHeader,
  segmentName,
} from './segment.js'
import { SegmentFiles } from './segment-files.js'
import { readFully, Window } from './window.js'

/** The size, in bytes, from which on a segment takes no further record. */
export const segmentSizeMax = 64 * 1024 * 1024
/** The largest number of pieces that one system call writes (IOV_MAX of Linux). */
const piecesMax = 1_024
/** The bytes that are read, written over or written again at a time. */
const chunkSize = 1024 * 1024
/** The bytes that one read takes from the system's cache at once; what is behind them, and what is not
 *  in the cache, is read on other threads. */
const cachedSizeMax = 512 * 1024
/** The size in bytes of the blocks that `stat` counts. */
const blockSize = 512

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

export type JournalOptions = {
  /** The point up to which all records are known to the caller. */
  readonly from: Point
  /** Called with each later record, in order, before `open` resolves. */
  readonly onRecord: (record: PlacedRecord) => void
  readonly segmentSize?: number
}

/** The error of a record that is certainly not in the journal: the next one can be appended. */
export class NotAppended extends Error {
  constructor(cause: unknown) {
    super('the record was not written', { cause })
  }
}

/** Makes an empty journal in a directory, which is made where it is missing. Does nothing where an
 *  empty one is there. Throws ECORRUPT (a journal with records is there), and what node:fs
 *  throws. */
export async function makeJournal(directory: string): Promise<void> {
  await makeDirectory(directory)
  // A process that made the directory may have died before it synced the one above.
  await syncDirectory(dirname(directory))
  const ids = await segmentsIn(directory)
  const path = join(directory, segmentName(journalStart.segment))
  const first = ids[0] === journalStart.segment ? await headOf(path) : undefined
  const isEmpty = ids.length === 0 || (ids.length === 1 && first && first.size <= headerSize)
  if (!isEmpty) {
    const message = `${directory} has records, but the index beside it is missing: restore a copy`
    throw new TailraceError('ECORRUPT', message)
  }
  if (first?.header) return syncDirectory(directory)
  await (await makeSegment(directory, journalStart.segment, 1)).file.close()
}

/** The journal of one directory. */
export class Journal {
  readonly #directory: string
  readonly #segmentSize: number
  readonly #files: SegmentFiles
  /** The segment that takes the next record. */
  #open: { readonly header: SegmentHeader; readonly file: FileHandle }
  #end: Point
  /** A record that `records` found: those behind it are found from there. */
  #seen = { segment: 0, at: 0 }

  private constructor(state: {
    readonly directory: string
    readonly segmentSize: number
    readonly open: { readonly header: SegmentHeader; readonly file: FileHandle }
    readonly end: Point
  }) {
    this.#directory = state.directory
    this.#segmentSize = state.segmentSize
    this.#files = new SegmentFiles(state.directory)
    this.#open = state.open
    this.#end = state.end
  }

  /** Opens a journal, and reads the records behind a point. What is left of a record that was not
   *  written to its end is cut off. REQUIRES: no other process writes here; `makeJournal` was called
   *  once. Throws ECORRUPT (damage before the end: nothing is changed then), and what node:fs
   *  throws. */
  static async open(directory: string, options: JournalOptions): Promise<Journal> {
    const { from, onRecord, segmentSize = segmentSizeMax } = options
    const { header, end } = await replay(directory, from, onRecord)
    const file = await open(join(directory, segmentName(header.id)), writeFlags)
    return new Journal({ directory, segmentSize, open: { header, file }, end })
  }

  /** The point behind the last record. */
  get end(): Point {
    return this.#end
  }

  /** Writes a record; resolves to the places of its blobs when it is durable. REQUIRES: one call at
   *  a time, none after one that threw something else than `NotAppended`; nobody writes to the
   *  bytes. Throws `NotAppended` (the cause is what node:fs throws, ENOSPC if the disk is full), and
   *  any other error where the record may or may not be there. */
  async append(blobs: readonly Blob[], changes: readonly Change[]): Promise<PlacedRecord> {
    const bodySize = blobs.reduce((sum, { bytes: { length } }) => sum + length, 0)
    if (bodySize > recordSizeMax) {
      const message = `a record of ${bodySize} bytes is too large: write less at a time`
      throw new NotAppended(new TailraceError('E2BIG', message))
    }
    if (this.#end.offset >= this.#segmentSize) await this.#roll()
    const { segment, offset, number } = this.#end
    const { header, file } = this.#open
    const head = encodeHead({ mark: header.mark, number: number + 1, blobs, changes })
    const written = await this.#write(file, offset, [head, ...blobs.map(({ bytes }) => bytes)])
    let at = offset + head.length
    const placed = blobs.map(({ ref, bytes: { length } }) => {
      const place = { segment, offset: at, length }
      at += length
      return [ref, place] as const
    })
    this.#end = { segment, offset: offset + written, number: number + 1 }
    return { blobs: placed, changes, end: this.#end }
  }

  /** Begins a new segment, unless the open one has no record. REQUIRES: as for `append`. Throws
   *  `NotAppended` (the disk is full: the open one goes on), and what node:fs throws. */
  async roll(): Promise<void> {
    if (this.#end.offset > headerSize) await this.#roll()
  }

  /** Reads blobs. Those that lie side by side are read together. Each result has a buffer of its
   *  own; undefined where the segment is not there, or ends before. Throws what node:fs throws. */
  async read(places: readonly (Place | undefined)[]): Promise<(Uint8Array | undefined)[]> {
    const results: (Uint8Array | undefined)[] = places.map(() => undefined)
    let left = cachedSizeMax
    const cold: Run[] = []
    for (const run of runsOf(places)) {
      left -= run.length
      const bytes = left >= 0 ? this.#readCached(run) : undefined
      if (bytes) share(bytes, run, results)
      else cold.push(run)
    }
    if (cold.length > 0) {
      const read = async (run: Run) => share(await this.#readRun(run), run, results)
      await Promise.all(cold.map(read))
    }
    return results
  }

  /** Reads the records of a segment from the one on that ends behind the offset `after`, until they
   *  have `blobs` blobs, or blobs of `size` bytes. `next` is the offset to go on from; undefined at
   *  the end of the segment. Undefined where the segment is not there. Throws ECORRUPT (the records
   *  end before the file does), and what node:fs throws. */
  async records(
    segment: number,
    bounds: { readonly after: number; readonly blobs: number; readonly size: number },
  ): Promise<{ records: FoundRecord[]; next: number | undefined } | undefined> {
    const end = segment === this.#end.segment ? this.#end.offset : undefined
    return this.#ifThere(segment, async (file) => {
      const window = new Window(file, end ?? (await file.stat()).size)
      const header = parseHeader(await window.bytes(0, headerSize))
      if (header?.id !== segment) throw damaged(this.#path(segment), 'has no header')
      const known = this.#seen.segment === segment && this.#seen.at <= bounds.after
      let at = known ? this.#seen.at : headerSize
      const records: FoundRecord[] = []
      for (let [blobs, size] = [0, 0]; at < window.size; ) {
        if (blobs >= bounds.blobs || size >= bounds.size) return { records, next: at }
        const record = await recordAt(window, header, at)
        if (!record || record.end > window.size) throw damaged(this.#path(segment), `at byte ${at}`)
        if (record.end > bounds.after) {
          this.#seen = { segment, at }
          records.push(record)
          // The part before `after` was seen before.
          const before = Math.max(0, bounds.after - at)
          blobs += Math.max(0, record.blobs.length - before)
          size += record.blobs.slice(before).reduce((sum, { length }) => sum + length, 0)
        }
        at = record.end
      }
      return { records, next: undefined }
    })
  }

  /** Returns the ids of the segments that are there, ascending. Throws what node:fs throws. */
  segments(): Promise<number[]> {
    return segmentsIn(this.#directory)
  }

  /** Returns the size of a segment's file, and the bytes that it takes on the disk. Undefined where
   *  it is not there. */
  async sizeOf(segment: number): Promise<{ file: number; taken: number } | undefined> {
    return this.#ifThere(segment, async (file) => {
      const { size, blocks } = await file.stat()
      return { file: size, taken: Math.min(size, blocks * blockSize) }
    })
  }

  /** Gives ranges of a segment back to the disk: they read as zeros from then on, and whole blocks of
   *  them take no space. Resolves to true when that is durable, to false where the system or the file
   *  system cannot. REQUIRES: nobody needs what is in them, and no head of a record is. Never
   *  throws. */
  async punch(
    segment: number,
    ranges: readonly { readonly offset: number; readonly length: number }[],
  ): Promise<boolean> {
    try {
      const file = await open(this.#path(segment), 'r+')
      try {
        for (const { offset, length } of ranges) {
          if (!(await punchHole(file.fd, offset, length))) return false
        }
        await file.datasync()
        return true
      } finally {
        await file.close()
      }
    } catch {
      return false
    }
  }

  /** Removes a segment; with `overwrite` zeros are written over its bytes first, once the reads under
   *  way have ended. Without it, these go on. REQUIRES: it is not the open one, and nobody needs what
   *  is in it. Throws what node:fs throws. */
  async remove(segment: number, { overwrite }: { readonly overwrite: boolean }): Promise<void> {
    const path = this.#path(segment)
    const read = this.#files.forget(segment)
    if (overwrite) {
      await read // its readers would take the zeros for damage
      await writeZeros(path)
    }
    await rm(path, { force: true })
    void this.#files.forget(segment) // who asked for it meanwhile would keep its bytes on the disk
    await syncDirectory(this.#directory)
  }

  /** Closes the files. REQUIRES: no append is under way. */
  async close(): Promise<void> {
    this.#files.close()
    await this.#open.file.close()
  }

  async #roll(): Promise<void> {
    const id = this.#open.header.id + 1
    const made = await makeSegment(this.#directory, id, this.#end.number + 1).catch(
      async (cause: unknown) => {
        const isPassing = isFull(cause) || hasCode(cause, 'EMFILE') || hasCode(cause, 'ENFILE')
        if (!isPassing) throw cause
        // The open segment goes on. One that came back after a crash would not follow its records.
        await rm(this.#path(id), { force: true })
        await syncDirectory(this.#directory)
        throw new NotAppended(cause)
      },
    )
    const before = this.#open.file
    this.#open = made
    this.#end = { segment: id, offset: headerSize, number: this.#end.number }
    await before.close()
  }

  /** Writes pieces one after the other, and returns their size once they are durable. */
  async #write(file: FileHandle, offset: number, pieces: readonly Uint8Array[]): Promise<number> {
    const size = pieces.reduce((sum, { length }) => sum + length, 0)
    try {
      let at = offset
      for (let rest = joined(pieces); rest.length > 0; ) {
        const { bytesWritten } = await file.writev(rest, at)
        at += bytesWritten
        rest = behind(rest, bytesWritten)
      }
      if (!isSynchronous) await file.datasync()
      return size
    } catch (cause) {
      if (!isFull(cause)) throw cause
      // A part of the record may be there: it is cut off for good before anybody is told.
      await file.truncate(offset)
      await file.sync()
      throw new NotAppended(cause)
    }
  }

  #readCached({ segment, offset, length }: Run): Buffer | undefined {
    const bytes = Buffer.allocUnsafeSlow(length)
    return this.#files.tryRead(segment, bytes, offset) ? bytes : undefined
  }

  async #readRun(run: Run): Promise<Buffer | undefined> {
    return this.#ifThere(run.segment, (file) => readFully(file, run.offset, run.length))
  }

  async #ifThere<T>(
    segment: number,
    act: (file: FileHandle) => Promise<T>,
  ): Promise<T | undefined> {
    try {
      return await this.#files.reading(segment, act)
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return undefined
      throw error
    }
  }

  #path(segment: number): string {
    return join(this.#directory, segmentName(segment))
  }
}

/** True where a write to a file that is opened with `writeFlags` is durable when it returns. Other
 *  systems than Linux need a sync of their own, since theirs may leave the bytes in the cache of the
 *  disk. */
const isSynchronous = process.platform === 'linux'
const writeFlags = constants.O_WRONLY | (isSynchronous ? constants.O_DSYNC : 0)

/** Reads the records behind a point, and makes the end of the journal ready for the next one. */
async function replay(
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
    if (!head.header || head.header.id !== id) {
      // The segment was being made when the power went. It had no record.
      if (isLast && id > from.segment && head.size <= headerSize) {
        await rm(path)
        await syncDirectory(directory)
        last = end.segment
        break
      }
      throw damaged(path, 'has no header')
    }
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
      if (!isLast || (await hasRecordBehind(window, header, behind))) {
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

async function makeSegment(
  directory: string,
  id: number,
  first: number,
): Promise<{ header: SegmentHeader; file: FileHandle }> {
  const header = { id, first, mark: randomBytes(markSize) }
  const flags = writeFlags | constants.O_CREAT | constants.O_TRUNC
  const file = await open(join(directory, segmentName(id)), flags, 0o600)
  try {
    await writeFully(file, encodeHeader(header), 0)
    if (!isSynchronous) await file.datasync()
    await syncDirectory(directory)
    return { header, file }
  } catch (error) {
    await file.close()
    throw error
  }
}

async function headOf(path: string): Promise<{ header: SegmentHeader | undefined; size: number }> {
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    return { header: parseHeader(await readFully(file, 0, Math.min(size, headerSize))), size }
  } finally {
    await file.close()
  }
}

async function segmentsIn(directory: string): Promise<number[]> {
  const names = await readdir(directory).catch((error: unknown): string[] => {
    if (hasCode(error, 'ENOENT')) return []
    throw error
  })
  const ids = names.map(parseSegmentName).filter((id) => id !== undefined)
  return ids.sort((a, b) => a - b)
}

async function writeZeros(path: string): Promise<void> {
  const file = await open(path, constants.O_WRONLY)
  try {
    const { size } = await file.stat()
    const zeros = Buffer.alloc(Math.min(chunkSize, size))
    for (let at = 0; at < size; at += chunkSize) {
      await writeFully(file, zeros.subarray(0, Math.min(chunkSize, size - at)), at)
    }
    await file.datasync()
  } finally {
    await file.close()
  }
}

async function writeFully(file: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, at + done)
    done += bytesWritten
  }
}

/** Blobs of one segment that lie side by side. */
type Run = {
  readonly segment: number
  readonly offset: number
  length: number
  readonly parts: { readonly index: number; readonly place: Place }[]
}

/** Hands the bytes of a run to the results of its parts. Parts that the file does not have stay
 *  undefined. */
function share(bytes: Buffer | undefined, run: Run, results: (Uint8Array | undefined)[]): void {
  if (!bytes) return
  for (const { index, place } of run.parts) {
    const from = place.offset - run.offset
    if (from + place.length > bytes.length) continue
    const part = bytes.subarray(from, from + place.length)
    results[index] = run.parts.length > 1 ? new Uint8Array(part) : part
  }
}

/** Joins places that lie side by side, up to `chunkSize` bytes. */
function runsOf(places: readonly (Place | undefined)[]): Run[] {
  const parts = places.flatMap((place, index) => (place ? [{ index, place }] : []))
  parts.sort((a, b) => a.place.segment - b.place.segment || a.place.offset - b.place.offset)
  const runs: Run[] = []
  for (const part of parts) {
    const { segment, offset, length } = part.place
    const run = runs.at(-1)
    const end = offset + length
    const joins = run?.segment === segment && offset <= run.offset + run.length
    if (run && joins && end - run.offset <= chunkSize) {
      run.parts.push(part)
      run.length = Math.max(run.length, end - run.offset)
    } else {
      runs.push({ segment, offset, length, parts: [part] })
    }
  }
  return runs
}

/** Returns pieces that one system call can take: small ones are copied together where there are too
 *  many. */
function joined(pieces: readonly Uint8Array[]): Uint8Array[] {
  if (pieces.length <= piecesMax) return [...pieces]
  const each = Math.ceil(pieces.length / piecesMax)
  const groups: Uint8Array[] = []
  for (let at = 0; at < pieces.length; at += each) {
    groups.push(Buffer.concat(pieces.slice(at, at + each)))
  }
  return groups
}

/** Returns what is left of pieces behind their first `count` bytes. */
function behind(pieces: readonly Uint8Array[], count: number): Uint8Array[] {
  let skip = count
  const rest: Uint8Array[] = []
  for (const piece of pieces) {
    if (skip >= piece.length) skip -= piece.length
    else {
      rest.push(skip > 0 ? piece.subarray(skip) : piece)
      skip = 0
    }
  }
  return rest
}

function isFull(error: unknown): boolean {
  return hasCode(error, 'ENOSPC') || hasCode(error, 'EDQUOT')
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

function damaged(path: string, how: string): TailraceError {
  return new TailraceError('ECORRUPT', `${path} is damaged (${how}): restore a copy`)
}
