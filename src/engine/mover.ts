/** Clears sparse segments for one collection: their live blobs move to the end of the journal, and the
 *  segments are removed. See rfc/4, rule 27.
 *  Invariant: a segment is removed only when nothing in it is needed, neither a blob nor a record, and
 *  the tables have the places to which its blobs moved. */

import type { Blob } from '../blob/blob.js'
import { isCode, reasonOf, TailraceError } from '../error.js'
import type { Journal } from '../journal/journal.js'
import type { Point } from '../journal/place.js'
import type { BlobTable } from './blob-table.js'
import type { Flush } from './flush.js'
import type { PartReader } from './part-reader.js'
import type { SegmentTable } from './segment-table.js'
import { isAt, type SweepPosition, type SweptBlob, sizeOf } from './sweep.js'
import type { WritePace } from './write-pace.js'
import { stored, type WriteGroup, type Writer } from './writer.js'

/** The bytes of live blobs that move in one record while writers come, and while nobody writes. */
const [moveSizeBeside, moveSizeAlone] = [128 * 1024, 1024 * 1024]

export type MoverPorts = {
  readonly blobs: BlobTable
  readonly journal: Journal
  readonly segments: SegmentTable
  readonly flush: Flush
  readonly writer: Writer
  readonly pace: WritePace
}

/** The live blobs of a segment that was looked at from its beginning. */
type Walked = {
  /** Their bytes. */
  readonly live: number
  /** Undefined where they are more than a step moves. */
  readonly kept: readonly SweptBlob[] | undefined
}

type MoveOptions = {
  /** Undefined where the segment was not looked at from its beginning. */
  readonly walk: Walked | undefined
  /** True if zeros are written over the segment before it is removed. */
  readonly overwrite: boolean
  /** Throws once the engine or the collection has ended. */
  readonly assertOpen: () => void
}

/** The result of a step. */
type Moved = {
  readonly scanned: number
  /** The bytes that zeros were written over. */
  readonly overwritten: number
  /** The offset from which the next step goes on; undefined at the end of the segment. */
  readonly next: number | undefined
}

/** A segment whose blobs move away. */
type Clearing = {
  readonly segment: number
  /** True if it was cleared from its beginning, and nothing that the index finds in it was left. */
  whole: boolean
}

/** The moves of one collection. Mutable. */
export class Mover {
  readonly #ports: MoverPorts
  readonly #reader: PartReader
  /** The point up to which the collection looks. */
  readonly #until: Point
  #clearing: Clearing | undefined

  constructor(ports: MoverPorts, reader: PartReader, until: Point) {
    this.#ports = ports
    this.#reader = reader
    this.#until = until
  }

  /** Moves the live blobs of a part of a segment, and removes the segment behind its last part.
   *  Undefined where the segment stays: it is not there, its heads are damaged, or the disk is full.
   *  Throws EIO, ECLOSED. */
  async move(position: SweepPosition, options: MoveOptions): Promise<Moved | undefined> {
    const { segment, offset } = position
    if (this.#clearing?.segment !== segment) this.#clearing = { segment, whole: offset === 0 }
    const clearing = this.#clearing
    const isOpen = segment === this.#ports.journal.end.segment
    if (isOpen && !(await this.#roll(options.assertOpen))) return undefined
    try {
      const moved = await this.#moveOut(position, clearing, options)
      if (!moved) return undefined
      const isCleared = moved.next === undefined && clearing.whole
      return { ...moved, overwritten: isCleared ? await this.#remove(segment, options) : 0 }
    } catch (error) {
      // On a full disk this segment stays; others may free space without moving so much.
      clearing.whole = false
      if (isCode(error, 'ENOSPC')) return undefined
      throw error
    }
  }

  /** Moves the live blobs of a part of a segment. Undefined where it is not there. */
  async #moveOut(
    position: SweepPosition,
    clearing: Clearing,
    { walk, assertOpen }: MoveOptions,
  ): Promise<Omit<Moved, 'overwritten'> | undefined> {
    const { blobs, segments } = this.#ports
    const { segment, offset } = position
    const until = this.#until
    // A walk remembers the live blobs if they are few: then only what came behind it is read.
    if (walk?.kept && offset === 0) {
      await this.#storeAll(walk.kept, clearing, assertOpen)
      if (segment === until.segment) return { scanned: walk.live, next: until.offset }
      if (segments.live(segment) === 0) return { scanned: walk.live, next: undefined }
    }
    const part = await this.#reader.part(position, undefined)
    if (!part) return undefined
    const own = part.found.filter(({ ref, place }) => isAt(blobs.place(ref), place))
    await this.#storeAll(own, clearing, assertOpen)
    return { scanned: sizeOf(own), next: part.next }
  }

  async #storeAll(
    own: readonly SweptBlob[],
    clearing: Clearing,
    assertOpen: () => void,
  ): Promise<void> {
    for (let at = 0; at < own.length; ) {
      const batch = this.#batch(own, at)
      await this.#store(batch, clearing, assertOpen)
      at += batch.length
    }
  }

  /** Returns the next blobs that move in one record. */
  #batch(own: readonly SweptBlob[], from: number): readonly SweptBlob[] {
    const sizeMax = this.#ports.pace.isBusy ? moveSizeBeside : moveSizeAlone
    let size = 0
    const end = own.findIndex(({ place }, index) => {
      if (index < from) return false
      size += place.length
      return size > sizeMax && index > from
    })
    return own.slice(from, end < 0 ? own.length : end)
  }

  /** Stores blobs again, at the end of the journal. One that cannot be read stays where it is, and
   *  keeps its segment. */
  async #store(
    batch: readonly SweptBlob[],
    clearing: Clearing,
    assertOpen: () => void,
  ): Promise<void> {
    const { blobs, journal, writer, pace, flush } = this.#ports
    await flush.caughtUp()
    await pace.turn()
    const bytes = await journal.read(batch.map(({ place }) => place))
    if (bytes.includes(undefined)) clearing.whole = false
    const plan = (group: WriteGroup) => {
      assertOpen()
      for (const [index, { ref, place }] of batch.entries()) {
        const content = bytes[index]
        if (content && isAt(blobs.place(ref), place)) group.moved.push({ ref, bytes: content })
      }
      return () => {}
    }
    const moving: Blob[] = batch.flatMap(({ ref }, index) => {
      const content = bytes[index]
      return content ? [{ ref, bytes: content }] : []
    })
    const job = { names: [], blobs: moving, frees: true, patient: true, plan }
    stored(await writer.submit(job))
  }

  /** Ends the open segment, so that its blobs can move. Resolves to false on a full disk. */
  async #roll(assertOpen: () => void): Promise<boolean> {
    try {
      await this.#inTurn((group) => {
        assertOpen()
        group.rolls = true
      })
      return true
    } catch (error) {
      if (isCode(error, 'ENOSPC')) return false
      throw error
    }
  }

  /** Does something when all records before are durable and in memory. */
  async #inTurn(act: (group: WriteGroup) => void): Promise<void> {
    const plan = (group: WriteGroup) => {
      act(group)
      return () => {}
    }
    const job = { names: [], blobs: [], frees: true, patient: true, plan }
    stored(await this.#ports.writer.submit(job))
  }

  /** Removes a segment in which the index finds nothing any more. Returns the bytes that it wrote
   *  over. */
  async #remove(segment: number, { overwrite, assertOpen }: MoveOptions): Promise<number> {
    const { journal, segments, flush, writer } = this.#ports
    // The watermark must leave the segment, so that the record behind it must be in memory.
    await this.#inTurn(assertOpen)
    // The tables must have all its records, and the places to which its blobs moved.
    segments.remove(segment)
    try {
      await writer.withReserve(() => flush.all())
    } catch (error) {
      segments.set(segment, 0)
      throw error
    }
    const size = overwrite ? ((await journal.sizeOf(segment))?.file ?? 0) : 0
    try {
      await journal.remove(segment, { overwrite })
    } catch (cause) {
      // The tables have forgotten it, as after a crash here.
      const reason = reasonOf(cause)
      const message = `a segment could not be removed (${reason}): the next open of the store removes it, if the directory and the disk let it`
      throw new TailraceError('EIO', message, { cause })
    }
    return size
  }
}
