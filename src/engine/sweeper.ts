/** The collections of the durable engine: runs steps as jobs of the writer, beside loads, puts and
 *  commits. See rfc/4, rules 25 to 28 and 32.
 *  Invariant: no collection that spares later puts drops a ref after `has` has said that it is there.
 *  A ref that is committed or put with its bytes is stored, whatever an earlier sweep dropped. A
 *  segment is removed only when nothing in it is needed, neither a blob nor a record. */

import { deferred } from '../base/deferred.js'
import type { Blobref } from '../blob/blobref.js'
import { reasonOf, TailraceError } from '../error.js'
import type { Place, Point } from '../journal/place.js'
import { Collections } from './collections.js'
import {
  type Collection,
  type SweepStep,
  type Swept,
  sweepRefsMax,
  sweepStepSize,
} from './engine.js'
import { Mover, type MoverPorts } from './mover.js'
import type { Moves } from './moves.js'
import { PartReader } from './part-reader.js'
import type { Spares } from './spares.js'
import {
  encodeSweep,
  parseSweep,
  planSweep,
  rangesOf,
  type SweepPlan,
  type SweepPosition,
  type SweptBlob,
  sizeOf,
} from './sweep.js'
import { type Job, stored, type WriteGroup, type WriteOutcome } from './writer.js'

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
/** The number of blobs that a slice looks at between two looks at the clock. */
const blobsPerLook = 8

type SweeperPorts = MoverPorts & {
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
  /** These blobs; undefined where they are more than a step moves. */
  kept: SweptBlob[] | undefined
  /** Ranges of dead blobs that are to be given back to the disk. */
  holes: Place[]
  /** The bytes of those that were given back since a step has told of them. */
  punched: number
  /** True if bytes of dead blobs are left in it that a thorough step must not leave. */
  dirty: boolean
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
    const { journal, pace, moves } = this.#ports
    const until = journal.end
    const reader = new PartReader(journal)
    const mover = new Mover(this.#ports, reader, until)
    const run: Run = { until, reader, mover, walk: undefined }
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
    const part = await run.reader.part(position, run.until)
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
      : rangesOf(thorough ? [...gone, ...dropped] : dropped).filter(
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
      await this.#ports.flush.caughtUp()
      const job = { names: [], blobs: [], frees: true, patient: true, plan }
      return stored(await this.#ports.writer.submit(job))
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
    const { segment } = position
    const walk = run.walk?.segment === segment && run.walk.whole ? run.walk : undefined
    // If every dead blob was given back to the disk, there is nothing to write zeros over.
    const overwrite = step.thorough === true && (!walk || walk.dirty)
    const moved = await run.mover.move(position, { walk, overwrite, assertOpen })
    if (!moved) return this.#goOn(position, run)
    const { scanned, overwritten, next } = moved
    const swept = { scanned, overwritten, freed: { count: 0, size: 0 } }
    if (next === undefined) return { ...swept, next: this.#after(segment, run) }
    return { ...swept, next: encodeSweep({ ...position, offset: next }) }
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
      const reason = reasonOf(cause)
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
  readonly reader: PartReader
  readonly mover: Mover
  walk: Walk | undefined
}

const nothingLeft: Swept = { next: undefined, scanned: 0, freed: { count: 0, size: 0 } }
