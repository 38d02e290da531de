/** The collections of the durable engine: runs steps as jobs of the writer, beside loads, puts and
 *  commits. See rfc/4, rules 25 to 28.
 *  Invariant: no collection that spares later puts drops a ref after `has` has said that it is there.
 *  A ref that is committed or put with its bytes is stored, whatever an earlier sweep dropped. A
 *  segment is removed only when nothing in it is needed, neither a blob nor a record. */

import { deferred } from '../base/deferred.js'
import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { isCode } from '../error.js'
import type { Journal } from '../journal/journal.js'
import type { Place, Point } from '../journal/place.js'
import type { BlobTable } from './blob-table.js'
import { Collections } from './collections.js'
import {
  type Collection,
  type SweepStep,
  type Swept,
  sweepRefsMax,
  sweepStepSize,
} from './engine.js'
import type { Flush } from './flush.js'
import type { Moves } from './moves.js'
import type { SegmentTable } from './segment-table.js'
import type { Spares } from './spares.js'
import {
  encodeSweep,
  isAt,
  parseSweep,
  partOf,
  planSweep,
  type SegmentPart,
  type SweepPlan,
  type SweepPosition,
  type SweptBlob,
} from './sweep.js'
import { type Job, stored, type WriteGroup, type WriteOutcome, type Writer } from './writer.js'

/** The least number of bytes that a segment must give back for its live blobs to move, unless the
 *  step is thorough. */
const sparseSizeMin = 1024 * 1024
/** The least number of dead bytes side by side that are given back to the disk without a move. */
const holeSizeMin = 64 * 1024

type SweeperPorts = {
  readonly blobs: BlobTable
  readonly journal: Journal
  readonly segments: SegmentTable
  readonly flush: Flush
  readonly writer: Writer
  readonly spares: Spares
  readonly moves: Moves
  /** Default: `sparseSizeMin`. */
  readonly sparseSize?: number
}

/** A segment whose blobs are looked at. */
type Walk = {
  readonly segment: number
  /** True if it was looked at from its beginning. */
  readonly whole: boolean
  /** The bytes of the blobs that stay. */
  live: number
  /** True if bytes of dead blobs are left in it that a thorough step must not leave. */
  dirty: boolean
}

/** A segment whose blobs move away. */
type Clearing = {
  readonly segment: number
  /** True if it was cleared from its beginning, and nothing that the index finds in it was left. */
  whole: boolean
}

/** The collections of one engine. */
export class Sweeper {
  readonly #ports: SweeperPorts
  readonly #collections: Collections
  /** The refs that the record under way drops, and the end of its transaction. */
  #dropping: { readonly refs: ReadonlySet<Blobref>; readonly ended: Promise<void> } | undefined

  constructor(ports: SweeperPorts) {
    this.#ports = ports
    this.#collections = new Collections(ports.spares)
  }

  /** Implements `Engine.beginCollection`. */
  begin(): Collection {
    const until = this.#ports.journal.end
    const run: Run = { until, walk: undefined, clearing: undefined }
    return this.#collections.begin((step, assertOpen) => this.#step(step, run, assertOpen))
  }

  /** Notes refs that are put without a root. */
  remember(refs: readonly Blobref[]): void {
    this.#ports.spares.put(refs)
  }

  /** Submits a job to the writer. A collection that is under way, or begins meanwhile,
   *  spares its blobs. */
  async submit<T>(job: Job<T>): Promise<WriteOutcome<T>> {
    const answered = this.#ports.spares.commit(job.blobs)
    try {
      return await this.#ports.writer.submit(job)
    } finally {
      answered()
    }
  }

  /** Implements `Engine.has`. */
  async has(refs: readonly Blobref[]): Promise<boolean[]> {
    this.#ports.spares.put(refs) // first, so that a step that is planned later spares them
    const dropping = this.#dropping
    if (dropping && refs.some((ref) => dropping.refs.has(ref))) await dropping.ended
    return this.#ports.blobs.has(refs)
  }

  /** Does one step: a part of a segment whose dead blobs are dropped, or whose live ones move. */
  async #step(step: SweepStep, run: Run, assertOpen: () => void): Promise<Swept> {
    this.#ports.moves.assertOpen()
    const position = this.#begin(step.after)
    const { until } = run
    if (position.segment > until.segment) return nothingLeft
    if (!this.#ports.segments.has(position.segment)) return this.#goOn(position, run)
    return position.phase === 'drop'
      ? this.#drop(position, step, run, assertOpen)
      : this.#move(position, step, run, assertOpen)
  }

  /** Returns the position of a step; the first segment's beginning for the first one. */
  #begin(after: number): SweepPosition {
    if (after > 0) return parseSweep(after)
    const [first = 1] = this.#ports.segments.ids
    return { segment: first, phase: 'drop', offset: 0 }
  }

  async #drop(
    position: SweepPosition,
    step: SweepStep,
    run: Run,
    assertOpen: () => void,
  ): Promise<Swept> {
    const { blobs, writer, spares, segments } = this.#ports
    const { segment, offset } = position
    const part = await this.#part(position, run.until)
    if (!part) return this.#goOn(position, run)
    const isSpared = (ref: Blobref) => spares.isSpared(ref, step.sparedSince)
    const ended = deferred<void>()
    const plan = (group: WriteGroup) => {
      assertOpen()
      const place = (ref: Blobref) => blobs.place(ref)
      const planned = planSweep(part.found, { live: step.live, place, isSpared })
      if (!step.dryRun && planned.dropped.length > 0) {
        const refs = new Set(planned.dropped.map(({ ref }) => ref))
        for (const ref of refs) group.drops.add(ref)
        this.#dropping = { refs, ended: ended.promise }
      }
      return () => planned
    }
    try {
      const job = { names: [], blobs: [], frees: true, plan }
      const planned = stored(await writer.submit(job))
      const walk = this.#walk(run, segment, offset)
      walk.live += planned.live
      const overwritten = step.dryRun
        ? 0
        : await this.#giveBack(planned, walk, step.thorough === true)
      const freed = { count: planned.dropped.length, size: sizeOf(planned.dropped) }
      const swept = { scanned: part.size, freed, overwritten }
      if (part.next !== undefined)
        return { ...swept, next: encodeSweep({ ...position, offset: part.next }) }
      // The segment was seen whole: count it anew, unless later records are in it.
      if (!step.dryRun && walk.whole && segment < run.until.segment)
        segments.set(segment, walk.live)
      const moves = !step.dryRun && (await this.#isSparse(walk, step.thorough === true))
      if (moves) return { ...swept, next: encodeSweep({ segment, phase: 'move', offset: 0 }) }
      return { ...swept, next: this.#after(segment, run) }
    } finally {
      this.#dropping = undefined
      ended.resolve()
    }
  }

  async #move(
    position: SweepPosition,
    step: SweepStep,
    run: Run,
    assertOpen: () => void,
  ): Promise<Swept> {
    const { blobs, journal, writer } = this.#ports
    const { segment } = position
    if (run.clearing?.segment !== segment) run.clearing = { segment, whole: position.offset === 0 }
    const { clearing } = run
    if (segment === journal.end.segment && !(await this.#roll(assertOpen)))
      return this.#goOn(position, run)
    const part = await this.#part(position, undefined)
    if (!part) return this.#goOn(position, run)
    const own = part.found.filter(({ ref, place }) => isAt(blobs.place(ref), place))
    const bytes = await journal.read(own.map(({ place }) => place))
    // A blob that cannot be read stays where it is, and keeps its segment.
    if (bytes.includes(undefined)) clearing.whole = false
    const plan = (group: WriteGroup) => {
      assertOpen()
      for (const [index, { ref, place }] of own.entries()) {
        const content = bytes[index]
        if (content && isAt(blobs.place(ref), place)) group.moved.push({ ref, bytes: content })
      }
      return () => {}
    }
    try {
      const moving: Blob[] = own.flatMap(({ ref }, index) => {
        const content = bytes[index]
        return content ? [{ ref, bytes: content }] : []
      })
      stored(await writer.submit({ names: [], blobs: moving, frees: true, plan }))
      const swept = { scanned: sizeOf(own), freed: { count: 0, size: 0 } }
      if (part.next !== undefined)
        return { ...swept, next: encodeSweep({ ...position, offset: part.next }) }
      const overwritten = clearing.whole ? await this.#remove(segment, step.thorough === true) : 0
      return { ...swept, overwritten, next: this.#after(segment, run) }
    } catch (error) {
      // On a full disk this segment stays; others may free space without moving so much.
      clearing.whole = false
      if (isCode(error, 'ENOSPC')) return this.#goOn(position, run)
      throw error
    }
  }

  /** Ends the open segment, so that its blobs can move. Resolves to false on a full disk. */
  async #roll(assertOpen: () => void): Promise<boolean> {
    const plan = (group: WriteGroup) => {
      assertOpen()
      group.rolls = true
      return () => {}
    }
    try {
      stored(await this.#ports.writer.submit({ names: [], blobs: [], frees: true, plan }))
      return true
    } catch (error) {
      if (isCode(error, 'ENOSPC')) return false
      throw error
    }
  }

  /** Reads a part of a segment; up to `until`, if that lies in it. Undefined where the segment is not
   *  there, or a head in it is damaged: then it stays as it is, with what can be read of it. */
  async #part(
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

  async #records(segment: number, after: number) {
    try {
      const bounds = { blobs: sweepRefsMax, size: sweepStepSize, after }
      return await this.#ports.journal.records(segment, bounds)
    } catch (error) {
      if (isCode(error, 'ECORRUPT')) return undefined
      throw error
    }
  }

  #walk(run: Run, segment: number, offset: number): Walk {
    if (run.walk?.segment !== segment)
      run.walk = { segment, whole: offset === 0, live: 0, dirty: false }
    return run.walk
  }

  /** True if the live blobs of a segment should move: little of what it takes on the disk is live;
   *  or, where the step is thorough, bytes of dead ones could not be written over. */
  async #isSparse({ segment, whole, dirty }: Walk, thorough: boolean): Promise<boolean> {
    const { journal, segments, sparseSize = sparseSizeMin } = this.#ports
    if (thorough && (dirty || !whole)) return true
    const kept = segments.live(segment)
    if (kept === 0 && segment !== journal.end.segment) return true
    const size = await journal.sizeOf(segment)
    return size !== undefined && size.taken - kept > Math.max(kept, sparseSize)
  }

  /** Removes a segment in which the index finds nothing any more. Returns the bytes that it wrote
   *  over. */
  async #remove(segment: number, overwrite: boolean): Promise<number> {
    const { journal, segments, flush, writer } = this.#ports
    // The tables must have all its records, and the places to which its blobs moved.
    segments.remove(segment)
    try {
      await writer.withReserve(() => flush.all())
    } catch (error) {
      segments.set(segment, 0)
      throw error
    }
    const size = overwrite ? ((await journal.sizeOf(segment))?.file ?? 0) : 0
    await journal.remove(segment, { overwrite })
    return size
  }

  /** Gives dead blobs back to the disk, where it can: long runs of those that were dropped now; where
   *  the step is thorough, all that are dead, which writes zeros over them. Returns the bytes that
   *  were written over for that. */
  async #giveBack({ dropped, dead }: SweepPlan, walk: Walk, thorough: boolean): Promise<number> {
    const sizeMin = thorough ? 1 : holeSizeMin
    const runs = runsOf(thorough ? dead : dropped).filter(({ length }) => length >= sizeMin)
    if (runs.length === 0) return 0
    const isPunched = await this.#ports.journal.punch(walk.segment, runs)
    if (!isPunched) walk.dirty = true
    return isPunched && thorough ? runs.reduce((sum, { length }) => sum + length, 0) : 0
  }

  #goOn({ segment }: SweepPosition, run: Run): Swept {
    return { next: this.#after(segment, run), scanned: 0, freed: { count: 0, size: 0 } }
  }

  /** Returns the position of the segment behind one; undefined where the collection ends. */
  #after(segment: number, { until }: Run): number | undefined {
    const next = this.#ports.segments.ids.find((id) => id > segment)
    if (next === undefined || next > until.segment) return undefined
    return encodeSweep({ segment: next, phase: 'drop', offset: 0 })
  }
}

/** A collection under way. */
type Run = {
  /** The point up to which it looks. */
  readonly until: Point
  walk: Walk | undefined
  clearing: Clearing | undefined
}

const nothingLeft: Swept = { next: undefined, scanned: 0, freed: { count: 0, size: 0 } }

function sizeOf(found: readonly SweptBlob[]): number {
  return found.reduce((sum, { place }) => sum + place.length, 0)
}

/** Joins the places of blobs that lie side by side. */
function runsOf(found: readonly SweptBlob[]): Place[] {
  const runs: { segment: number; offset: number; length: number }[] = []
  for (const { place } of found) {
    const run = runs.at(-1)
    if (run && run.segment === place.segment && run.offset + run.length === place.offset)
      run.length += place.length
    else runs.push({ ...place })
  }
  return runs
}
