/** A namespace in this process: its newest root, its retained roots, and those who wait for a seq.
 *  See rfc/6.
 *  Invariant: `root` is durable; only the namespace's commit loop moves it. */

import type { NamespaceView, Settings } from '../api/namespace.js'
import type { Engine, Head, Namespace, Revision, Rewritten, Root } from '../engine/engine.js'
import { canceled, TailraceError } from '../error.js'
import { readFloor, SettingsCache } from '../present/settings.js'
import type { Nodes } from '../tree/nodes.js'
import { type RootNode, readRoot } from '../tree/root.js'
import type { Dir } from '../treeobj/treeobj.js'
import { Retention } from './retention.js'
import { RootLog } from './root-log.js'
import { SeqWaits } from './seq-waits.js'

/** A commit group that became durable. */
export type CommittedGroup = {
  /** The number of its transactions. */
  readonly transactions: number
  /** The number of its blobs and nodes, and their bytes. */
  readonly blobs: number
  readonly size: number
  /** The time that the engine took to make it durable, with its wait for other groups, in ms. */
  readonly durableMs: number
  /** The transactions of it that have a place in a trace. */
  readonly traced: readonly TracedTransaction[]
}

/** A transaction with a place in a trace. */
export type TracedTransaction = {
  readonly trace: string
  readonly namespace: string
  /** The seq of its root. */
  readonly seq: number
  /** The keys that its ops name, and the range of blobs of an append. */
  readonly writes: readonly {
    readonly key: string
    readonly index?: number | undefined
    readonly count?: number | undefined
  }[]
}

/** Listens to the namespaces of a store; the watch service does. */
export interface StoreListener {
  /** Called when a new root is durable and visible. */
  moved?(namespace: LiveNamespace, root: Root): void
  /** Called when a commit group is durable, before its root is visible. */
  committed?(group: CommittedGroup): void
  /** Called when a namespace was made, or has ended. */
  changed?(namespace: LiveNamespace): void
}

/** One incarnation of a namespace. */
export class LiveNamespace {
  readonly record: Namespace
  readonly roots: RootLog
  readonly retention: Retention
  readonly #nodes: Nodes
  readonly #settings = new SettingsCache()
  readonly #waits = new SeqWaits()
  #root: Root
  #revision: Revision
  #ended: TailraceError | undefined

  /** `now` is the wall clock. */
  constructor(engine: Engine, nodes: Nodes, now: () => number, head: Head) {
    this.record = head.namespace
    this.#nodes = nodes
    this.#root = head.root
    this.#revision = head.revision
    const floor = () => this.retention.floor()
    this.roots = new RootLog(engine, head.namespace.name, head.root, floor)
    this.retention = new Retention({
      now,
      log: this.roots,
      head: () => this.#root,
      settings: () => this.settings(),
      recorded: () => this.recordedFloor(),
    })
  }

  get name(): string {
    return this.record.name
  }

  /** The newest root. */
  get root(): Root {
    return this.#root
  }

  /** The revision of the newest root. */
  get revision(): Revision {
    return this.#revision
  }

  /** The reason for which no root follows: ENONS (it was removed) or ECLOSED. Undefined
   *  while it lives. */
  get ended(): TailraceError | undefined {
    return this.#ended
  }

  /** Moves the namespace to a new root, and wakes those who wait for its seqs. Only the commit loop
   *  calls it. REQUIRES: the engine has applied the root. */
  advance(root: Root, revision: Revision): void {
    const before = this.#root.seq
    this.#root = root
    this.#revision = revision
    this.roots.push(root)
    this.retention.moved()
    this.#waits.reached(before, root.seq)
  }

  /** Gives retained roots other refs. REQUIRES: the engine has stored these, and the
   *  commit loop is held. */
  rewritten(roots: readonly Rewritten[]): void {
    this.roots.rewritten(roots)
    const own = roots.find(({ seq }) => seq === this.#root.seq)
    if (own) this.#root = { ...this.#root, ref: own.ref }
  }

  /** Ends the namespace: those who wait for a seq get `reason`. */
  end(reason: TailraceError): void {
    this.#ended ??= reason
    this.#waits.wakeAll()
  }

  /** Returns the trees of a root, without I/O where they are in memory. Throws ECORRUPT,
   *  EDANGLING, EIO. */
  async trees(root: Root): Promise<RootNode> {
    return readRoot(this.#nodes, root.ref)
  }

  /** Returns the tree of the keys at a root, by default the newest. Throws ECORRUPT,
   *  EDANGLING, EIO. */
  async data(root: Root = this.#root): Promise<Dir> {
    return (await this.trees(root)).data
  }

  /** Returns the settings at the newest root. Throws ECORRUPT, EDANGLING, EIO. */
  async settings(): Promise<Settings> {
    return this.#settings.read(this.#nodes, (await this.trees(this.#root)).meta)
  }

  /** Returns the floor that the newest root's `meta` records. Throws ECORRUPT, EDANGLING, EIO. */
  async recordedFloor(): Promise<number> {
    return readFloor(this.#nodes, (await this.trees(this.#root)).meta)
  }

  /** Describes the namespace for a caller. Throws ECORRUPT, EDANGLING, EIO. */
  async view(): Promise<NamespaceView> {
    const { name, incarnation, owner, created } = this.record
    const { seq, ref } = this.#root
    const { data, meta } = await this.trees(this.#root)
    const settings = await this.#settings.read(this.#nodes, meta)
    const { keys, size } = data
    const historySize = await this.retention.size()
    return { name, incarnation, owner, created, seq, ref, keys, size, historySize, settings }
  }

  /** Waits until the newest root has `seq` or a later one. Throws EINVAL, ENONS,
   *  ECLOSED, ECANCELED. */
  async reach(seq: number, signal: AbortSignal | undefined): Promise<void> {
    if (!Number.isSafeInteger(seq) || seq < 0) {
      throw new TailraceError('EINVAL', 'a seq is a whole number, 0 or more')
    }
    for (;;) {
      if (signal?.aborted) throw canceled(signal)
      if (this.#ended) throw this.#ended
      if (this.#root.seq >= seq) return
      await this.#waits.wait(seq, signal)
    }
  }
}
