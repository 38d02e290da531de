/** The journal: an append-only log of records in segment files. One write makes a record durable;
 *  what is in it stays readable by its place. See rfc/21.
 *  Invariant: records follow one another without a gap, in the order of their numbers. A record that
 *  `append` has answered is durable, and is there after any crash. */

import { type FileHandle, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { BufferPool } from '../base/buffer-pool.js'
import { makeDirectory, syncDirectory } from '../base/make-directory.js'
import { punchHole } from '../base/posix.js'
import type { Blob } from '../blob/blob.js'
import { hasSystemCode, isFullError, TailraceError } from '../error.js'
import { journalStart, type Place, type PlacedRecord, type Point } from './place.js'
import { type Change, encodeHead, recordSizeMax } from './record.js'
import { replay } from './replay.js'
import { type Run, runsOf, share } from './runs.js'
import { damagesIn, type FoundRecord, recordAt, type SegmentDamage } from './scan.js'
import { headerSize, parseHeader, type SegmentHeader, segmentName } from './segment.js'
import { SegmentFiles } from './segment-files.js'
import {
  damaged,
  headOf,
  isSynchronous,
  makeSegment,
  segmentsIn,
  writeFlags,
  writeZeros,
} from './segment-io.js'
import { readFully, Window } from './window.js'

/** The size, in bytes, from which on a segment takes no further record. */
export const segmentSizeMax = 64 * 1024 * 1024
/** The largest number of pieces that one system call writes (IOV_MAX of Linux). */
const piecesMax = 1_024
/** The bytes that one read takes from the system's cache at once; what is behind them, and what is not
 *  in the cache, is read on other threads. */
const cachedSizeMax = 512 * 1024
/** The size in bytes of the blocks that `stat` counts. */
const blockSize = 512

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
  const ids = await segmentsIn(directory)
  const path = join(directory, segmentName(journalStart.segment))
  const first = ids[0] === journalStart.segment ? await headOf(path) : undefined
  const isEmpty = ids.length === 0 || (ids.length === 1 && first && first.size <= headerSize)
  if (!isEmpty) {
    const message = `${directory} has records, but the index beside it is missing: restore a copy`
    throw new TailraceError('ECORRUPT', message)
  }
  // The sync that was to make its name durable may have failed.
  if (first) await rm(path)
  await (await makeSegment(directory, journalStart.segment, 1)).file.close()
}

/** Returns the path of a segment's file. */
export function segmentFile(directory: string, segment: number): string {
  return join(directory, segmentName(segment))
}

/** Returns the ids of those segments that are not in a directory. Throws what node:fs throws. */
export async function missingSegments(
  directory: string,
  segments: readonly number[],
): Promise<number[]> {
  const there = new Set(await segmentsIn(directory))
  return segments.filter((id) => !there.has(id))
}

/** The journal of one directory. */
export class Journal {
  readonly #directory: string
  readonly #segmentSize: number
  readonly #files: SegmentFiles
  /** The buffers of reads that `recycle` was given. */
  readonly #buffers = new BufferPool()
  /** The segment that takes the next record. */
  #open: { readonly header: SegmentHeader; readonly file: FileHandle }
  #end: Point
  /** The segments with ranges that were given back, and are not synced since. */
  readonly #punched = new Set<number>()
  /** True if a segment was removed, and the directory is not synced since. */
  #isRemoved = false
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

  /** Takes the buffer of a result of `read` back: a later read may use it again. REQUIRES: nobody has
   *  it any more. */
  recycle(bytes: Uint8Array): void {
    this.#buffers.give(bytes)
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

  /** Finds what is damaged of a segment's header and of the heads of its records. Undefined where the
   *  segment is not there. Throws what node:fs throws. */
  async damages(segment: number): Promise<SegmentDamage[] | undefined> {
    const end = segment === this.#end.segment ? this.#end.offset : undefined
    return this.#ifThere(segment, async (file) =>
      damagesIn(new Window(file, end ?? (await file.stat()).size), segment),
    )
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
   *  them take no space. `settle` makes that durable. Resolves to false where the system or the file
   *  system cannot. REQUIRES: nobody needs what is in them, and no head of a record is. Never
   *  throws. */
  async punch(
    segment: number,
    ranges: readonly { readonly offset: number; readonly length: number }[],
  ): Promise<boolean> {
    try {
      const file = await open(this.#path(segment), 'r+')
      try {
        this.#punched.add(segment)
        for (const { offset, length } of ranges) {
          if (!(await punchHole(file.fd, offset, length))) return false
        }
        return true
      } finally {
        await file.close()
      }
    } catch {
      return false
    }
  }

  /** Removes a segment; with `overwrite` zeros are written over its bytes first, once the reads under
   *  way have ended. Without it, these go on. `settle` makes the removal durable; without that, the
   *  segment may be there again after a crash. REQUIRES: it is not the open one, and nobody needs
   *  what is in it. Throws what node:fs throws. */
  async remove(segment: number, { overwrite }: { readonly overwrite: boolean }): Promise<void> {
    const path = this.#path(segment)
    const read = this.#files.forget(segment)
    if (overwrite) {
      await read // its readers would take the zeros for damage
      await writeZeros(path)
    }
    this.#punched.delete(segment)
    this.#isRemoved = true
    await rm(path, { force: true })
    void this.#files.forget(segment) // who asked for it meanwhile would keep its bytes on the disk
  }

  /** Makes durable what `punch` and `remove` did. REQUIRES: one call at a time. Throws what node:fs
   *  throws; then it is done again by the next call. */
  async settle(): Promise<void> {
    for (const segment of [...this.#punched]) {
      const file = await open(this.#path(segment), 'r+')
      try {
        await file.datasync()
      } finally {
        await file.close()
      }
      this.#punched.delete(segment)
    }
    if (!this.#isRemoved) return
    this.#isRemoved = false
    await syncDirectory(this.#directory).catch((error: unknown) => {
      this.#isRemoved = true
      throw error
    })
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
        const isPassing =
          isFullError(cause) || hasSystemCode(cause, 'EMFILE') || hasSystemCode(cause, 'ENFILE')
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
      if (!isFullError(cause)) throw cause
      // A part of the record may be there: it is cut off for good before anybody is told.
      await file.truncate(offset)
      await file.sync()
      throw new NotAppended(cause)
    }
  }

  #readCached({ segment, offset, length }: Run): Buffer | undefined {
    const bytes = this.#buffers.take(length)
    if (this.#files.tryRead(segment, bytes, offset)) return bytes
    this.#buffers.give(bytes)
    return undefined
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
      if (hasSystemCode(error, 'ENOENT')) return undefined
      throw error
    }
  }

  #path(segment: number): string {
    return segmentFile(this.#directory, segment)
  }
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
