/** Collections of the durable engine: steps as jobs of the writer, and who may rely on a ref
 *  meanwhile. See rfc/4.
 *  Invariant: a ref that `has` says is there is not dropped by a collection that spares what was
 *  put since; a ref that is committed or put with its bytes is stored, whatever a sweep before it
 *  dropped. */

import { deferred } from '../base/deferred.js'
import type { Blobref } from '../blob/blobref.js'
import type { BlobTable } from './blob-table.js'
import { Collections } from './collections.js'
import type { Collection, SweepStep, Swept } from './engine.js'
import type { Moves } from './moves.js'
import type { Spares } from './spares.js'
import { type Job, stored, type WriteGroup, type WriteOutcome, type Writer } from './writer.js'

export type SweeperPorts = {
  readonly blobs: BlobTable
  readonly writer: Writer
  readonly spares: Spares
  readonly moves: Moves
}

export class Sweeper {
  readonly #ports: SweeperPorts
  readonly #collections: Collections
  /** What the transaction under way drops. */
  #dropping: { readonly refs: ReadonlySet<Blobref>; readonly ended: Promise<void> } | undefined

  constructor(ports: SweeperPorts) {
    this.#ports = ports
    this.#collections = new Collections(ports.spares)
  }

  /** See `Engine.beginCollection`. */
  begin(): Collection {
    const until = this.#ports.blobs.lastRecord
    return this.#collections.begin((step, assertOpen) => this.#step(step, until, assertOpen))
  }

  /** Refs that are put without a root. */
  remember(refs: readonly Blobref[]): void {
    this.#ports.spares.put(refs)
  }

  /** A job of the writer: a collection that is under way, or begins meanwhile, leaves its blobs
   *  alone. */
  async submit<T>(job: Job<T>): Promise<WriteOutcome<T>> {
    const answered = this.#ports.spares.commit(job.blobs)
    try {
      return await this.#ports.writer.submit(job)
    } finally {
      answered()
    }
  }

  /** See `Engine.has`. */
  async has(refs: readonly Blobref[]): Promise<boolean[]> {
    this.#ports.spares.put(refs) // first: a step that is planned later then leaves them alone
    const dropping = this.#dropping
    if (dropping && refs.some((ref) => dropping.refs.has(ref))) await dropping.ended
    return this.#ports.blobs.has(refs)
  }

  /** The bytes of each ref, undefined where it is not there. A step's transaction is on disk before
   *  memory knows of it: a record that it has moved is looked for again once memory does. */
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
