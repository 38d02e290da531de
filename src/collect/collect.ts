/** Collections of a store: one at a time, asked for or begun by itself, while it is used; one that the end of
 *  the process cut goes on when the store is opened again. See rfc/14.
 *  Invariant: nothing is freed before all that is in use was marked; what is put or committed meanwhile is
 *  spared by the engine, what uploads have put before by their notes. */

import { setImmediate } from 'node:timers/promises'
import type { Collected, CollectOptions, CollectProgress, Upkeep } from '../api/upkeep.js'
import type { Environment } from '../base/environment.js'
import { eitherSignal } from '../base/on-abort.js'
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

/** How much garbage there must be, at least, for a collection to begin by itself: this share of what the last
 *  one left, and this many bytes. */
export const garbageShare = 0.5
export const garbageSizeMin = 256 * 1024 * 1024
/** How far a sweep has come is recorded after this many steps. */
export const stepsPerRecord = 64

/** When a collection begins by itself; tests make them small. */
export type GarbageBounds = { readonly share: number; readonly sizeMin: number }

export type CollectorPorts = {
  readonly engine: Engine
  readonly content: Content
  readonly nodes: Nodes
  readonly spaces: OpenNamespaces
  readonly environment: Environment
  readonly garbage?: GarbageBounds
}

type Run = {
  readonly dryRun: boolean
  readonly thorough: boolean
  readonly after: number
  /** Forgets that it began after; undefined: it begins now. */
  readonly covered: number | undefined
  readonly signal: AbortSignal
  readonly onProgress: (progress: CollectProgress) => void
}

export class Collector implements Pick<Upkeep, 'collect'>, AsyncDisposable {
  readonly #ports: CollectorPorts
  readonly #bounds: GarbageBounds
  readonly #closing = new AbortController()
  readonly #listening: Disposable
  #running: Promise<unknown> | undefined
  /** What was stored when the last one ended. */
  #left: number

  private constructor(ports: CollectorPorts, left: number) {
    this.#ports = ports
    this.#left = left
    this.#bounds = ports.garbage ?? { share: garbageShare, sizeMin: garbageSizeMin }
    const look = () => this.#beginIfDue()
    this.#listening = ports.spaces.listen({ moved: look, changed: look })
  }

  /** Goes on with a collection that was under way when the store was open last. */
  static async open(ports: CollectorPorts): Promise<Collector> {
    const { running, after, thorough, covered, left } = await recordOf(ports)
    const collector = new Collector(ports, left)
    if (running) collector.#beginByItself({ after, thorough, covered })
    return collector
  }

  /** Is one under way? */
  get running(): boolean {
    return this.#running !== undefined
  }

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

  /** Ends a collection that is under way; it goes on when the store is opened again. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listening[Symbol.dispose]()
    this.#closing.abort(new TailraceError('ECLOSED', 'the store is closed'))
    await this.#running
  }

  /** Called at each commit: cheap. */
  #beginIfDue(): void {
    if (this.#running || this.#closing.signal.aborted) return
    const { share, sizeMin } = this.#bounds
    if (this.#ports.engine.stored <= this.#left * (1 + share) + sizeMin) return
    this.#beginByItself({ after: 0, thorough: false, covered: undefined })
  }

  #beginByItself(run: Pick<Run, 'after' | 'thorough' | 'covered'>): void {
    const { signal } = this.#closing
    void this.#begin({ ...run, dryRun: false, signal, onProgress: () => {} }).catch(() => {
      // Nobody asked; who does learns why. It is tried again when there is as much garbage once more.
      this.#left = this.#ports.engine.stored
    })
  }

  /** REQUIRES: none is under way. */
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
      // A reader may have what was forgotten: then the next one looks for it again.
      const stale = spaces.past.holds.stale
      const mark = new Mark({
        engine,
        monotonic: environment.monotonic,
        signal: run.signal,
        onProgress: (done) => run.onProgress({ phase: 'mark', done }),
      })
      await markInUse(this.#ports, mark, { durable: !run.dryRun, signal: run.signal })
      const collected = await this.#sweep(collection, mark.set, { ...run, thorough, uploads })
      if (!run.dryRun) this.#left = engine.stored
      const overwritten = !run.dryRun && covered > record.swept ? await this.#overwrite(run) : 0
      await this.#note(run, (now) => ({
        ...now,
        ...{ running: false, after: 0, thorough: false, left: this.#left },
        // A forget that came meanwhile was not swept up behind.
        swept: thorough && !stale ? covered : now.swept,
      }))
      return { ...collected, ...(overwritten > 0 && { overwritten }) }
    } catch (error) {
      // A store or a server that closes goes on with it later; anything else ends it.
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
    let [steps, scanned, longestStepMs] = [0, 0, 0]
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
      freed.count += swept.freed.count
      freed.size += swept.freed.size
      run.onProgress({ phase: 'sweep', done: Math.min(scanned, total), total })
      await setImmediate()
      if (after !== undefined && steps % stepsPerRecord === 0) await this.#noteAfter(run, after)
      if (after !== undefined && signal.aborted) throw canceled(signal)
    }
    const known = run.after === 0
    const inUse = known ? live : { count: marked.count, size: engine.stored }
    return { dryRun, live: inUse, freed, longestStepMs, steps }
  }

  /** Something was forgotten: its bytes shall not stay in freed pages. */
  #overwrite({ signal, onProgress }: Run): Promise<number> {
    return this.#ports.engine.overwriteFreed({
      signal,
      onProgress: (done) => onProgress({ phase: 'overwrite', done }),
    })
  }

  #noteAfter(run: Run, after: number): Promise<void> {
    return this.#note(run, (now) => ({ ...now, after }))
  }

  /** A dry run leaves no trace. */
  async #note(run: Run, update: UpdateCollection['update']): Promise<void> {
    if (run.dryRun) return
    try {
      await updateCollection(this.#ports.spaces.find('system').committer, update)
    } catch (error) {
      // It can make space on a full disk; only a restart would not know of it.
      if (!isCode(error, 'ENOSPC')) throw error
    }
  }
}

async function recordOf({ spaces, nodes }: CollectorPorts): Promise<CollectionRecord> {
  const { live } = spaces.find('system')
  return readCollection(nodes, (await live.trees(live.root)).meta)
}
