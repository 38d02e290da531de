/** The durable engine of one process: a journal has the blobs and every change, ordered tables find
 *  them, heads are in memory. See rfc/4. `local-open.ts` opens it.
 *  Invariant: memory (heads, index, epochs) has only what is durable. It changes after a record was
 *  written, never before. */

import { join } from 'node:path'
import type { Environment } from '../base/environment.js'
import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import type { BlobTable } from './blob-table.js'
import { diskSizeOf } from './disk.js'
import type {
  Collection,
  Engine,
  FileDamage,
  Head,
  Namespace,
  Outcome,
  Part,
  Rewritten,
  Root,
  Supports,
} from './engine.js'
import { checkFiles } from './file-check.js'
import { judge, namesOf } from './judge.js'
import { Leaders } from './leaders.js'
import { journalName, type LocalBounds, type LocalState } from './local-state.js'
import { Moves } from './moves.js'
import { namespaceExists, noNamespace } from './refusals.js'
import type { RootTable } from './root-table.js'
import { Spares } from './spares.js'
import { Sweeper } from './sweeper.js'
import { WritePace } from './write-pace.js'
import { stored, type WriteGroup, Writer } from './writer.js'

/** The number of roots that `history` reads at a time. */
const historyPage = 256
type LocalEngineOptions = {
  readonly environment: Environment
  readonly storeId: string
  readonly formerId: string | undefined
  readonly directory: string
  readonly state: LocalState
  readonly bounds: LocalBounds
  /** Closes the tables and releases the lock. Called once, at the end of a close. */
  readonly release: () => Promise<void>
}

/** The durable engine of one process. */
export class LocalEngine implements Engine {
  readonly supports: Supports = { durable: true, shared: false }
  readonly storeId: string
  /** The id of the store that this one is a copy of. */
  readonly formerId: string | undefined
  readonly #environment: Environment
  readonly #directory: string
  readonly #state: LocalState
  readonly #blobs: BlobTable
  readonly #roots: RootTable
  readonly #writer: Writer
  readonly #leaders: Leaders
  readonly #moves = new Moves()
  /** The `tx` of each commit in the record that broke the store, whose outcome is unknown. */
  readonly #uncertain = new Set<string>()
  readonly #release: LocalEngineOptions['release']
  readonly #sweeper: Sweeper
  #closing: Promise<void> | undefined

  constructor(options: LocalEngineOptions) {
    const { directory, state, bounds } = options
    const { blobs, journal, segments, flush, health } = state
    this.storeId = options.storeId
    this.formerId = options.formerId
    this.#environment = options.environment
    this.#directory = directory
    this.#state = state
    this.#blobs = blobs
    this.#roots = state.roots
    this.#release = options.release
    this.#leaders = new Leaders(options.environment)
    const pace = new WritePace()
    this.#writer = new Writer({
      ...{ health, pace },
      directory,
      stored: () => blobs.stored,
      ready: () => flush.after(),
      complete: (group) => this.#complete(group),
    })
    this.#sweeper = new Sweeper({
      ...{ blobs, journal, segments, flush, pace },
      writer: this.#writer,
      spares: new Spares(options.environment),
      moves: this.#moves,
      ...(bounds.sparseSize === undefined ? {} : { sparseSize: bounds.sparseSize }),
    })
  }

  /** The number of changes that are in memory and in the journal only: bounded (rfc/4, rule 17), 0
   *  after a close. */
  get waiting(): number {
    return this.#state.waiting
  }

  get broken(): TailraceError | undefined {
    return this.#state.health.broken
  }

  /** The number of removed namespaces whose roots are not all dropped yet. */
  get burialsWaiting(): number {
    return this.#roots.burials
  }

  async put(blobs: readonly Blob[]): Promise<void> {
    this.#moves.assertOpen()
    this.#sweeper.remember(blobs.map(({ ref }) => ref))
    const plan = ({ blobs: all }: WriteGroup) => {
      for (const blob of blobs) all.push(blob)
      return () => {}
    }
    stored(await this.#writer.submit({ names: [], blobs, plan }))
  }

  async load(refs: readonly Blobref[]): Promise<(Uint8Array | undefined)[]> {
    this.#moves.assertOpen()
    return this.#blobs.load(refs)
  }

  recycle(bytes: Uint8Array): void {
    this.#blobs.recycle(bytes)
  }

  async commit(parts: readonly Part[]): Promise<Outcome[]> {
    this.#moves.assertOpen()
    const answer = await this.#sweeper.submit({
      names: namesOf(parts),
      blobs: parts.flatMap(({ blobs }) => blobs),
      frees: parts.every((part) => part.frees === true),
      plan: (group) => this.#planParts(parts, group),
    })
    if (answer.stored) return answer.value
    return parts.map(({ root: { tx } }) => {
      if (answer.applied === 'unknown') this.#uncertain.add(tx)
      const applied = this.#uncertain.has(tx) ? 'unknown' : 'no'
      return { status: 'unavailable', applied, error: answer.error }
    })
  }

  async has(refs: readonly Blobref[]): Promise<boolean[]> {
    this.#moves.assertOpen()
    return this.#sweeper.has(refs)
  }

  async root(namespace: string): Promise<Head | undefined> {
    this.#moves.assertOpen()
    return this.#roots.head(namespace)
  }

  async roots(): Promise<Head[]> {
    this.#moves.assertOpen()
    return this.#roots.heads()
  }

  async create(namespace: Namespace, root: Root, blobs: readonly Blob[]): Promise<Head> {
    this.#moves.assertOpen()
    const plan = (group: WriteGroup) => {
      if (this.#roots.head(namespace.name)) throw namespaceExists(namespace.name)
      for (const blob of blobs) group.blobs.push(blob)
      const created = this.#roots.stageCreate(group.writes, namespace, root)
      return () => {
        created()
        this.#moves.moved()
        return { namespace, root, revision: root.seq }
      }
    }
    return stored(await this.#sweeper.submit({ names: [namespace.name], blobs, plan }))
  }

  async remove(namespace: string, incarnation: string): Promise<void> {
    this.#moves.assertOpen()
    const plan = ({ writes }: WriteGroup) => {
      if (this.#roots.head(namespace)?.namespace.incarnation !== incarnation) {
        throw noNamespace(namespace)
      }
      const removed = this.#roots.stageRemove(writes, namespace)
      return () => {
        removed()
        this.#leaders.forget(namespace)
        this.#moves.moved()
      }
    }
    stored(await this.#writer.submit({ names: [namespace], blobs: [], frees: true, plan }))
  }

  async *history(namespace: string, after: number): AsyncIterable<Root> {
    this.#moves.assertOpen()
    const head = this.#roots.head(namespace)
    if (!head) throw noNamespace(namespace)
    for (let last = after; last < head.root.seq; ) {
      const page = this.#roots.page(namespace, last, historyPage)
      for (const root of page) if (root.seq <= head.root.seq) yield root
      last = page.at(-1)?.seq ?? head.root.seq
      this.#assertFollows(head, last)
    }
  }

  get stored(): number {
    return this.#blobs.stored
  }

  async diskSize(): Promise<number | undefined> {
    this.#moves.assertOpen()
    return diskSizeOf(this.#directory)
  }

  async checkFiles(options: { readonly repair: boolean }): Promise<readonly FileDamage[]> {
    this.#moves.assertOpen()
    const { blobs, journal, segments, flush, index } = this.#state
    const directory = join(this.#directory, journalName)
    const ports = { directory, blobs, journal, segments, flush, index, writer: this.#writer }
    return checkFiles(ports, options)
  }

  beginCollection(): Collection {
    this.#moves.assertOpen()
    return this.#sweeper.begin()
  }

  async rewrite(
    namespace: string,
    incarnation: string,
    roots: readonly Rewritten[],
    blobs: readonly Blob[],
  ): Promise<void> {
    this.#moves.assertOpen()
    const plan = (group: WriteGroup) => {
      if (this.#roots.head(namespace)?.namespace.incarnation !== incarnation) {
        throw noNamespace(namespace)
      }
      const rewritten = this.#roots.stageRewrite(group.writes, namespace, roots)
      for (const blob of blobs) group.blobs.push(blob)
      return () => {
        rewritten()
        this.#moves.moved()
      }
    }
    stored(await this.#sweeper.submit({ names: [namespace], blobs, frees: true, plan }))
  }

  watch(signal: AbortSignal): AsyncIterable<void> {
    return this.#moves.watch(signal)
  }

  async lead(namespace: string, owner: string, ttlMs: number): Promise<number> {
    this.#moves.assertOpen()
    const plan = ({ writes }: WriteGroup) => {
      const head = this.#roots.head(namespace)
      if (!head) throw noNamespace(namespace)
      const { incarnation } = head.namespace
      const held = this.#leaders.renew(namespace, incarnation, owner, ttlMs)
      if (held !== undefined) return () => held
      const epoch = this.#roots.epoch(namespace) + 1
      const kept = this.#roots.stageEpoch(writes, namespace, epoch)
      return () => {
        kept()
        this.#leaders.grant(namespace, incarnation, owner, ttlMs, epoch)
        return epoch
      }
    }
    return stored(await this.#writer.submit({ names: [namespace], blobs: [], plan }))
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#moves.close()
    await this.#writer.drained()
    await this.#state.close()
    await this.#release()
  }

  async #complete(group: WriteGroup) {
    const { writes, blobs, drops } = group
    const isEmpty = writes.list.length + blobs.length + drops.size === 0
    const buried = isEmpty ? () => {} : this.#roots.stageBurial(writes)
    const write = await this.#state.complete(group)
    if (!write) return undefined
    return async () => {
      const taken = await write()
      return async () => {
        await taken()
        buried()
      }
    }
  }

  #planParts(parts: readonly Part[], group: WriteGroup): () => Outcome[] {
    const now = this.#environment.now()
    const outcomes = parts.map((part): (() => Outcome) => {
      const verdict = judge(part, this.#roots.head(part.namespace), (revision) =>
        this.#roots.after(part.namespace, revision),
      )
      if (verdict) return () => verdict
      for (const blob of part.blobs) group.blobs.push(blob)
      const moved = this.#roots.stageRoot(group.writes, part, now)
      return () => {
        moved()
        return { status: 'applied', revision: part.root.seq }
      }
    })
    return () => {
      const answers = outcomes.map((outcome) => outcome())
      this.#moves.moved()
      return answers
    }
  }

  /** Checks that no root after `last` was dropped since `head` was read. Throws ECOMPACTED,
   *  ENONS, ECLOSED. */
  #assertFollows(head: Head, last: number): void {
    this.#moves.assertOpen()
    const { name, incarnation } = head.namespace
    if (this.#roots.head(name)?.namespace.incarnation !== incarnation) throw noNamespace(name)
    if ((this.#roots.oldest(name) ?? 0) <= last) return
    throw new TailraceError('ECOMPACTED', `roots after ${last} were dropped: begin again`)
  }
}
