/** The collections of the durable engine: runs steps as jobs of the writer, beside loads, puts and
 *  commits. See rfc/4, rules 25 to 28 and 32.
 *  Invariant: no collection that spares later puts drops a ref after `has` has said that it is there.
 *  A ref that is committed or put with its bytes is stored, whatever an earlier sweep dropped. A
 *  segment is removed only when nothing in it is needed, neither a blob nor a record. */

import { deferred } from '../base/deferred.js'
import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { isCode, TailraceError } from '../error.js'
import type { Journal } from '../journal/journal.js'
import type { Place, Point } from '../journal/place.js'
import type { FoundRecord } from '../journal/scan.js'
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
  runsOf,
  type SegmentPart,
  type SweepPlan,
  type SweepPosition,
  type SweptBlob,
} from './sweep.js'
import type { WritePace } from './write-pace.js'
import { type Job, stored, type WriteGroup, type WriteOutcome, type Writer } from './writer.js'

/** The least number of bytes that a segment must give back for its live blobs to move, unless the
 *  step is thorough. */
const sparseSizeMin = 1024 * 1024
/** The least number of dead bytes side by side that are given back to the disk without a move. */
const holeSizeMin = 64 * 1024
/** The number of holes from which on they are given back to the disk: fewer wait for each other, since
 *  each change of a file makes the next sync take longer. */
const holesMax = 1_024
/** The bytes of holes that are given back to the disk at once. */
const punchSizeMax = 8 * 1024 * 1024
/** The bytes of live blobs that move in one record while writers come, and while nobody writes. */
const [moveSizeBeside, moveSizeAlone] = [128 * 1024, 1024 * 1024]
/** The number of blobs that a slice looks at between two looks at the clock. */
const blobsPerLook = 8

type SweeperPorts = {
  readonly blobs: BlobTable
  readonly journal: Journal
  readonly segments: SegmentTable
  readonly flush: Flush
  readonly writer: Writer
  readonly spares: Spares
  readonly moves: Moves
  readonly pace: WritePace
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
  /** These blobs; undefined where they are more than a step moves. */
  kept: SweptBlob[] | undefined
  /** Ranges of dead blobs that are to be given back to the disk. */
  holes: Place[]
  /** The bytes of those that were given back since a step has told of them. */
  punched: number
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
    const run: Run = { until, walk: undefined, clearing: undefined, read: undefined }
    const { pace, moves } = this.#ports
    return this.#collections.begin({
      step: (step, assertOpen) =>
        this.#step(step, run, () => {
          moves.assertOpen()
          assertOpen()
        }),
      settle: () => this.#settle(run),
      turn: async () => {
        moves.assertOpen()
        await pace.turn()
        return pace.sliceMs
      },
    })
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
    const { segments } = this.#ports
    const { segment, offset } = position
    const part = await this.#part(position, run, run.until)
    if (!part) return this.#goOn(position, run)
    const walk = this.#walk(run, segment, offset)
    const { dropped, gone, live } = await this.#sweep(part.found, step, assertOpen)
    walk.live += sizeOf(live)
    walk.kept?.push(...live)
    if (walk.kept && (walk.kept.length > sweepRefsMax || walk.live > sweepStepSize))
      walk.kept = undefined
    const thorough = step.thorough === true
    const holes = step.dryRun
      ? []
      : runsOf(thorough ? [...gone, ...dropped] : dropped).filter(
          ({ length }) => thorough || length >= holeSizeMin,
        )
    walk.holes.push(...holes)
    const isLast = part.next === undefined && !step.dryRun
    // The segment was seen whole: count it anew, unless later records are in it.
    if (isLast && walk.whole && segment < run.until.segment) segments.set(segment, walk.live)
    if (isLast && !thorough && this.#isEmpty(segment)) walk.holes = [] // it goes as a whole
    if (isLast || walk.holes.length >= holesMax) await this.#punch(walk)
    const freed = { count: dropped.length, size: sizeOf(dropped) }
    const swept = { scanned: part.size, freed, overwritten: thorough ? walk.punched : 0 }
    walk.punched = 0
    if (part.next !== undefined)
      return { ...swept, next: encodeSweep({ ...position, offset: part.next }) }
    if (isLast && (await this.#isSparse(walk, thorough)))
      return { ...swept, next: encodeSweep({ segment, phase: 'move', offset: 0 }) }
    return { ...swept, next: this.#after(segment, run) }
  }

  /** Drops the dead ones of some blobs, in slices: while the record of one slice is on its way to the
   *  disk, the next one is looked at. */
  async #sweep(
    found: readonly SweptBlob[],
    step: SweepStep,
    assertOpen: () => void,
  ): Promise<SweepPlan> {
    const { blobs, spares, pace } = this.#ports
    const place = (ref: Blobref) => blobs.place(ref)
    const isSpared = (ref: Blobref) => spares.isSpared(ref, step.sparedSince)
    const all: { [Part in keyof SweepPlan]: SweptBlob[] } = { dropped: [], gone: [], live: [] }
    const take = (plan: SweepPlan) => {
      all.dropped.push(...plan.dropped)
      all.gone.push(...plan.gone)
      all.live.push(...plan.live)
    }
    let dropping: Promise<SweepPlan> | undefined
    try {
      for (let at = 0; at < found.length; ) {
        await pace.turn()
        assertOpen()
        const until = performance.now() + pace.sliceMs
        const isOver = (count: number) => count % blobsPerLook === 0 && performance.now() >= until
        const rest = found.slice(at, at + sweepRefsMax)
        const looked = planSweep(rest, { live: step.live, place, isSpared }, isOver)
        at += looked.count
        take(step.dryRun ? looked : { ...looked, dropped: [] })
        if (step.dryRun || looked.dropped.length === 0) continue
        const { dropped } = looked
        const before = dropping
        dropping = undefined
        if (before) take(await before)
        dropping = this.#submit(dropped, isSpared, assertOpen)
        dropping.catch(() => {}) // it is awaited later
      }
    } finally {
      if (dropping) take(await dropping)
    }
    return all
  }

  /** Drops blobs in one record. Those that somebody needs by then stay. REQUIRES: the index finds them
   *  where they were looked at. It still does when the record is planned: only this collection drops
   *  or moves blobs, and what is stored is not stored again. */
  async #submit(
    dead: readonly SweptBlob[],
    isSpared: (ref: Blobref) => boolean,
    assertOpen: () => void,
  ): Promise<SweepPlan> {
    const ended = deferred<void>()
    const plan = (group: WriteGroup) => {
      assertOpen()
      const dropped: SweptBlob[] = []
      const live: SweptBlob[] = []
      for (const blob of dead) (isSpared(blob.ref) ? live : dropped).push(blob)
      const refs = new Set(dropped.map(({ ref }) => ref))
      for (const ref of refs) group.drops.add(ref)
      this.#dropping = { refs, ended: ended.promise }
      return () => ({ dropped, gone: [], live })
    }
    try {
      await this.#keepUp()
      const job = { names: [], blobs: [], frees: true, patient: true, plan }
      return stored(await this.#ports.writer.submit(job))
    } finally {
      this.#dropping = undefined
      ended.resolve()
    }
  }

  /** Waits while so many changes wait for the tables that commits would soon wait for them. */
  async #keepUp(): Promise<void> {
    const { flush } = this.#ports
    if (flush.isBehind) await flush.idle()
  }

  async #move(
    position: SweepPosition,
    step: SweepStep,
    run: Run,
    assertOpen: () => void,
  ): Promise<Swept> {
    const { journal } = this.#ports
    const { segment } = position
    if (run.clearing?.segment !== segment) run.clearing = { segment, whole: position.offset === 0 }
    const { clearing } = run
    // Where each dead blob was given back to the disk, zeros over the others help nobody.
    const walk = run.walk?.segment === segment && run.walk.whole ? run.walk : undefined
    const overwrite = step.thorough === true && (!walk || walk.dirty)
    if (segment === journal.end.segment && !(await this.#roll(assertOpen)))
      return this.#goOn(position, run)
    try {
      const moved = await this.#moveOut(position, run, assertOpen)
      if (!moved) return this.#goOn(position, run)
      const swept = { scanned: moved.scanned, freed: { count: 0, size: 0 } }
      if (moved.next !== undefined)
        return { ...swept, next: encodeSweep({ ...position, offset: moved.next }) }
      const overwritten = clearing.whole ? await this.#remove(segment, overwrite, assertOpen) : 0
      return { ...swept, overwritten, next: this.#after(segment, run) }
    } catch (error) {
      // On a full disk this segment stays; others may free space without moving so much.
      clearing.whole = false
      if (isCode(error, 'ENOSPC')) return this.#goOn(position, run)
      throw error
    }
  }

  /** Moves the live blobs of a part of a segment. Undefined where it is not there. */
  async #moveOut(position: SweepPosition, run: Run, assertOpen: () => void) {
    const { blobs, segments } = this.#ports
    const { segment, offset } = position
    const { until } = run
    const walk = run.walk?.segment === segment && run.walk.whole ? run.walk : undefined
    // Where few stayed they are known, and the segment is read only from where the walk ended.
    if (walk?.kept && offset === 0) {
      await this.#storeAll(walk.kept, run.clearing, assertOpen)
      if (segment === until.segment) return { scanned: walk.live, next: until.offset }
      if (segments.live(segment) === 0) return { scanned: walk.live, next: undefined }
    }
    const part = await this.#part(position, run, undefined)
    if (!part) return undefined
    const own = part.found.filter(({ ref, place }) => isAt(blobs.place(ref), place))
    await this.#storeAll(own, run.clearing, assertOpen)
    return { scanned: sizeOf(own), next: part.next }
  }

  async #storeAll(
    own: readonly SweptBlob[],
    clearing: Clearing | undefined,
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
    clearing: Clearing | undefined,
    assertOpen: () => void,
  ): Promise<void> {
    const { blobs, journal, writer, pace } = this.#ports
    await this.#keepUp()
    await pace.turn()
    const bytes = await journal.read(batch.map(({ place }) => place))
    if (clearing && bytes.includes(undefined)) clearing.whole = false
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

  /** Reads a part of a segment; up to `until`, if that lies in it. Undefined where the segment is not
   *  there, or a head in it is damaged: then it stays as it is, with what can be read of it. */
  async #part(
    { segment, offset }: SweepPosition,
    run: Run,
    until: Point | undefined,
  ): Promise<SegmentPart | undefined> {
    const read = await this.#records(segment, offset, run)
    if (!read) return undefined
    const isLast = segment === until?.segment
    const records = isLast ? read.records.filter(({ end }) => end <= until.offset) : read.records
    const behind = records.length < read.records.length || (isLast && read.next === until.offset)
    return partOf(records, offset, behind ? undefined : read.next)
  }

  /** Reads records from an offset on. Those of the last call are kept: a record of many blobs has many
   *  parts. */
  async #records(segment: number, after: number, run: Run): Promise<Read | undefined> {
    const { read } = run
    const isRead = read?.segment === segment && read.after <= after
    if (isRead && read.next !== undefined && after < read.next) return read
    try {
      const bounds = { blobs: sweepRefsMax, size: sweepStepSize, after }
      const found = await this.#ports.journal.records(segment, bounds)
      run.read = found && { ...found, segment, after }
      return run.read
    } catch (error) {
      if (isCode(error, 'ECORRUPT')) return undefined
      throw error
    }
  }

  #walk(run: Run, segment: number, offset: number): Walk {
    if (run.walk?.segment !== segment)
      run.walk = {
        segment,
        whole: offset === 0,
        live: 0,
        kept: [],
        holes: [],
        punched: 0,
        dirty: false,
      }
    return run.walk
  }

  /** True if the live blobs of a segment should move: little of what it takes on the disk is live;
   *  or, where the step is thorough, bytes of dead ones could not be written over. */
  async #isSparse({ segment, whole, dirty }: Walk, thorough: boolean): Promise<boolean> {
    const { journal, segments, sparseSize = sparseSizeMin } = this.#ports
    if ((thorough && (dirty || !whole)) || this.#isEmpty(segment)) return true
    const kept = segments.live(segment)
    const size = await journal.sizeOf(segment)
    return size !== undefined && size.taken - kept > Math.max(kept, sparseSize)
  }

  /** True if the index finds nothing in a segment, and no further record comes to it. */
  #isEmpty(segment: number): boolean {
    const { journal, segments } = this.#ports
    return segments.live(segment) === 0 && segment !== journal.end.segment
  }

  /** Removes a segment in which the index finds nothing any more. Returns the bytes that it wrote
   *  over. */
  async #remove(segment: number, overwrite: boolean, assertOpen: () => void): Promise<number> {
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
      const reason = cause instanceof Error ? cause.message : String(cause)
      const message = `a segment could not be removed (${reason}): the next open of the store removes it, if the directory and the disk let it`
      throw new TailraceError('EIO', message, { cause })
    }
    return size
  }

  /** Gives the holes of a segment back to the disk, where it can. */
  async #punch(walk: Walk): Promise<void> {
    const { journal, pace } = this.#ports
    const holes = walk.holes
    walk.holes = []
    for (let at = 0; at < holes.length && !walk.dirty; ) {
      await pace.turn()
      const from = at
      let size = 0
      for (; at < holes.length && size < punchSizeMax; at++) size += holes[at]?.length ?? 0
      if (await journal.punch(walk.segment, holes.slice(from, at))) walk.punched += size
      else walk.dirty = true
    }
  }

  /** Implements `Collection.settle`. */
  async #settle({ walk }: Run): Promise<void> {
    this.#ports.moves.assertOpen()
    if (walk) await this.#punch(walk)
    await this.#ports.journal.settle().catch((cause: unknown) => {
      const reason = cause instanceof Error ? cause.message : String(cause)
      const message = `what the collection gave back could not be made durable (${reason}): check the directory and the disk, then collect again`
      throw new TailraceError('EIO', message, { cause })
    })
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
  read: Read | undefined
}

/** The records of a segment from an offset on, up to `next`. */
type Read = {
  readonly segment: number
  readonly after: number
  readonly records: readonly FoundRecord[]
  readonly next: number | undefined
}

const nothingLeft: Swept = { next: undefined, scanned: 0, freed: { count: 0, size: 0 } }

function sizeOf(found: readonly SweptBlob[]): number {
  return found.reduce((sum, { place }) => sum + place.length, 0)
}
