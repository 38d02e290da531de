/** Collections of a store, one at a time, while the store is used. A caller asks for one, or the
 *  collector begins it by itself. A collection that is cut off by the end of the process goes on at
 *  the next open. See rfc/14.
 *  Invariant: nothing is freed before everything in use was marked. The engine spares what is put
 *  or committed meanwhile; the notes of uploads spare what they put before. */

import { setImmediate } from 'node:timers/promises'
import type { Collected, CollectOptions, CollectProgress, Upkeep } from '../api/upkeep.js'
import { eitherSignal } from '../base/abort.js'
import type { Environment } from '../base/environment.js'
import type { Blobref } from '../blob/blobref.js'
import type { Content } from '../content/content.js'
import type { Collection, Engine } from '../engine/engine.js'
import { canceled, isCode, TailraceError } from '../error.js'
import { updateCollection } from '../kvs/configure.js'
import type { OpenNamespaces } from '../kvs/namespaces.js'
import type { OpenUploads } from '../kvs/uploads.js'
import {
  type CollectionRecord,
  readCollection,
  type UpdateCollection,
} from '../present/collection.js'
import type { Nodes } from '../tree/nodes.js'
import { markInUse } from './in-use.js'
import { Mark } from './mark.js'
import type { MarkSet } from './mark-set.js'

/** The bounds above which a collection begins by itself (rfc/14, rule 19): the share of the bytes
 *  that the last one left, and a number of bytes on top. */
const garbageShare = 0.5
const garbageSizeMin = 256 * 1024 * 1024
/** The number of steps after which the place of a sweep is recorded. */
const stepsPerRecord = 64

/** The bounds above which a collection begins by itself. Tests make them small. */
export type GarbageBounds = { readonly share: number; readonly sizeMin: number }

type CollectorPorts = {
  readonly engine: Engine
  readonly content: Content
  readonly nodes: Nodes
  readonly spaces: OpenNamespaces
  readonly environment: Environment
  readonly garbage?: GarbageBounds
}

/** A collection in progress. */
type Run = {
  readonly dryRun: boolean
  readonly thorough: boolean
  /** The place in the engine up to which it has swept. */
  readonly after: number
  /** The number of forgets before it began; undefined if it begins now. */
  readonly covered: number | undefined
  readonly signal: AbortSignal
  readonly onProgress: (progress: CollectProgress) => void
}

/** The collector of a store, until it is disposed of. */
export class Collector implements Pick<Upkeep, 'collect'>, AsyncDisposable {
  readonly #ports: CollectorPorts
  readonly #bounds: GarbageBounds
  readonly #closing = new AbortController()
  readonly #listening: Disposable
  #running: Promise<unknown> | undefined
  #ended = 0
  #freedSize = 0
  /** The bytes that were stored when the last collection ended, or failed. */
  #left: number

  private constructor(ports: CollectorPorts, left: number) {
    this.#ports = ports
    this.#left = left
    this.#bounds = ports.garbage ?? { share: garbageShare, sizeMin: garbageSizeMin }
    const look = () => this.#beginIfDue()
    this.#listening = ports.spaces.listen({ moved: look, changed: look })
  }

  /** Opens the collector, and goes on with a collection that the last close of the store has cut
   *  off. Throws ECORRUPT, EDANGLING, EIO. */
  static async open(ports: CollectorPorts): Promise<Collector> {
    const { running, after, thorough, covered, left } = await recordOf(ports)
    const collector = new Collector(ports, left)
    if (running) collector.#beginByItself({ after, thorough, covered })
    return collector
  }

  /** True while a collection is in progress. */
  get running(): boolean {
    return this.#running !== undefined
  }

  /** The number of collections that have ended since the store was opened, and the bytes that they
   *  freed. */
  get freed(): { readonly collections: number; readonly size: number } {
    return { collections: this.#ended, size: this.#freedSize }
  }

  /** Runs a thorough collection: see `Upkeep.collect`. */
  async collect(options: CollectOptions = {}): Promise<Collected> {
    const { dryRun = false, signal, onProgress = () => {} } = options
    if (signal?.aborted) throw canceled(signal)
    this.#ports.spaces.checkOpen()
    if (this.#running) {
      throw new TailraceError('EBUSY', 'a collection is under way: wait for its end')
    }
    const either = eitherSignal(this.#closing.signal, signal)
    const run = { dryRun, thorough: true, after: 0, covered: undefined, onProgress }
    return this.#begin({ ...run, signal: either.signal }).finally(either.end)
  }

  /** Ends a collection that is in progress. It goes on at the next open of the store. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listening[Symbol.dispose]()
    this.#closing.abort(new TailraceError('ECLOSED', 'the store is closed'))
    await this.#running
  }

  /** Begins a collection if there is enough garbage. It is cheap, since each commit calls it. */
  #beginIfDue(): void {
    if (this.#running || this.#closing.signal.aborted) return
    const { share, sizeMin } = this.#bounds
    if (this.#ports.engine.stored <= this.#left * (1 + share) + sizeMin) return
    this.#beginByItself({ after: 0, thorough: false, covered: undefined })
  }

  #beginByItself(run: Pick<Run, 'after' | 'thorough' | 'covered'>): void {
    const { signal } = this.#closing
    void this.#begin({ ...run, dryRun: false, signal, onProgress: () => {} }).catch(() => {
      // Nobody waits for the error: a caller that asks for a collection gets it. The next try comes
      // when as much garbage has been added again.
      this.#left = this.#ports.engine.stored
    })
  }

  /** Begins a collection. REQUIRES: none is in progress. */
  #begin(run: Run): Promise<Collected> {
    const done = this.#run(run)
    const ended = () => {
      this.#running = undefined
    }
    this.#running = done.then(ended, ended)
    return done
  }

  async #run(run: Run): Promise<Collected> {
    const { engine, environment, spaces } = this.#ports
    using collection = engine.beginCollection()
    const uploads = spaces.uploads.underWay()
    try {
      const record = await recordOf(this.#ports)
      const { covered = record.forgets } = run
      const thorough = run.thorough || covered > record.swept
      const begun = { running: true, after: run.after, thorough, covered }
      await this.#note(run, (now) => ({ ...now, ...begun }))
      // A reader may still hold forgotten bytes: then the next collection looks for them again.
      const stale = spaces.past.holds.stale
      const mark = new Mark({
        engine,
        monotonic: environment.monotonic,
        turn: () => collection.turn(),
        signal: run.signal,
        onProgress: (done) => run.onProgress({ phase: 'mark', done }),
      })
      await markInUse(this.#ports, mark, { durable: !run.dryRun, signal: run.signal })
      const swept = await this.#sweep(collection, mark.set, { ...run, thorough, uploads })
      const { overwritten = 0, ...collected } = swept
      if (!run.dryRun) {
        this.#left = engine.stored
        this.#ended++
        this.#freedSize += collected.freed.size
      }
      await this.#note(run, (now) => ({
        ...now,
        ...{ running: false, after: 0, thorough: false, left: this.#left },
        // A forget that came meanwhile counts for the next collection.
        swept: thorough && !stale ? covered : now.swept,
      }))
      const forgot = !run.dryRun && covered > record.swept
      return { ...collected, ...(forgot && overwritten > 0 && { overwritten }) }
    } catch (error) {
      // A collection that a close cuts off goes on later; any other error ends it.
      if (!this.#closing.signal.aborted && !isCode(error, 'ECLOSED')) {
        const ended = { running: false, after: 0, thorough: false }
        await this.#note(run, (now) => ({ ...now, ...ended })).catch(() => {})
      }
      throw error
    }
  }

  async #sweep(
    collection: Collection,
    marked: MarkSet,
    run: Run & { readonly uploads: OpenUploads },
  ): Promise<Collected> {
    const { engine, content, environment, spaces } = this.#ports
    const { dryRun, thorough, uploads, signal } = run
    const sparedSince = uploads.since
    const total = engine.stored
    const live = { count: 0, size: 0 }
    const freed = { count: 0, size: 0 }
    let [steps, scanned, overwritten, longestStepMs] = [0, 0, 0, 0]
    for (let after: number | undefined = run.after; after !== undefined; ) {
      const dead: Blobref[] = []
      const isLive = (ref: Blobref, size: number) => {
        if (!marked.has(ref)) {
          if (spaces.uploads.isLent(ref) || uploads.has(ref)) return true
          dead.push(ref)
          return false
        }
        live.count++
        live.size += size
        return true
      }
      const began = environment.monotonic()
      const swept = await collection.step({ after, live: isLive, sparedSince, dryRun, thorough })
      longestStepMs = Math.max(longestStepMs, environment.monotonic() - began)
      if (!dryRun) content.forget(dead)
      after = swept.next
      steps++
      scanned += swept.scanned
      overwritten += swept.overwritten ?? 0
      freed.count += swept.freed.count
      freed.size += swept.freed.size
      run.onProgress({ phase: 'sweep', done: Math.min(scanned, total), total })
      await setImmediate()
      if (after !== undefined && steps % stepsPerRecord === 0) {
        if (!dryRun) await collection.settle() // what is behind `after` is not looked at again
        await this.#noteAfter(run, after)
      }
      if (after !== undefined && signal.aborted) throw canceled(signal)
    }
    if (!dryRun) await collection.settle()
    const known = run.after === 0
    const inUse = known ? live : { count: marked.count, size: engine.stored }
    return { dryRun, live: inUse, freed, longestStepMs, steps, overwritten }
  }

  #noteAfter(run: Run, after: number): Promise<void> {
    return this.#note(run, (now) => ({ ...now, after }))
  }

  /** Changes the durable record, unless this is a dry run. Throws what a
   *  commit throws, except ENOSPC. */
  async #note(run: Run, update: UpdateCollection['update']): Promise<void> {
    if (run.dryRun) return
    try {
      await updateCollection(this.#ports.spaces.find('system').committer, update)
    } catch (error) {
      // The collection may free space on a full disk. Without the record only a restart would not
      // go on.
      if (!isCode(error, 'ENOSPC')) throw error
    }
  }
}

async function recordOf({ spaces, nodes }: CollectorPorts): Promise<CollectionRecord> {
  const { live } = spaces.find('system')
  return readCollection(nodes, (await live.trees(live.root)).meta)
}
