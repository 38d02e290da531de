/** The collections of the durable engine: runs steps as jobs of the writer, beside loads, puts and
 *  commits. See rfc/4, rules 25 to 27.
 *  Invariant: no collection that spares later puts drops a ref after `has` has said that
 *  it is there. A ref that is committed or put with its bytes is stored, whatever an
 *  earlier sweep dropped. */

import { deferred } from '../base/deferred.js'
import type { Blobref } from '../blob/blobref.js'
import type { BlobTable } from './blob-table.js'
import { Collections } from './collections.js'
import type { Collection, SweepStep, Swept } from './engine.js'
import type { Moves } from './moves.js'
import type { Spares } from './spares.js'
import { type Job, stored, type WriteGroup, type WriteOutcome, type Writer } from './writer.js'

type SweeperPorts = {
  readonly blobs: BlobTable
  readonly writer: Writer
  readonly spares: Spares
  readonly moves: Moves
}

/** The collections of one engine. */
export class Sweeper {
  readonly #ports: SweeperPorts
  readonly #collections: Collections
  /** The refs that the transaction under way drops, and the end of that transaction. */
  #dropping: { readonly refs: ReadonlySet<Blobref>; readonly ended: Promise<void> } | undefined

  constructor(ports: SweeperPorts) {
    this.#ports = ports
    this.#collections = new Collections(ports.spares)
  }

  /** Implements `Engine.beginCollection`. */
  begin(): Collection {
    const until = this.#ports.blobs.lastRecord
    return this.#collections.begin((step, assertOpen) => this.#step(step, until, assertOpen))
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

  /** Returns the bytes of each ref, undefined where it is not stored. A step's transaction is on
   *  the disk before the index in memory changes. So a load that misses a blob looks again when the
   *  step has ended. */
  async load(refs: readonly Blobref[]): Promise<(Uint8Array | undefined)[]> {
    const { blobs } = this.#ports
    const loaded = blobs.load(refs)
    const dropping = this.#dropping
    if (!dropping || !loaded.includes(undefined)) return loaded
    await dropping.ended
    return blobs.load(refs)
  }

  async #step(step: SweepStep, until: number, assertOpen: () => void): Promise<Swept> {
    const { blobs, writer, spares, moves } = this.#ports
    moves.assertOpen()
    const isSpared = (ref: Blobref) => spares.isSpared(ref, step.sparedSince)
    const ended = deferred<void>()
    const plan = (group: WriteGroup) => {
      assertOpen()
      const sweep = blobs.sweep(group.writes, { ...step, until, isSpared })
      if (!step.dryRun) {
        group.sweeps.push(sweep)
        this.#dropping = { refs: sweep.dropped, ended: ended.promise }
      }
      return () => sweep.swept
    }
    try {
      return stored(await writer.submit({ names: [], blobs: [], frees: true, plan }))
    } finally {
      this.#dropping = undefined
      ended.resolve()
    }
  }
}
