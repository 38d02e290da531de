/** A commit group while it is made: transactions applied one after the other to a draft of the next tree,
 *  then the root that names it. See rfc/6.
 *  Invariant: a transaction that throws leaves nothing behind; nothing is visible before the root is. */

import type { Environment } from '../base/environment.js'
import type { Blob } from '../blob/blob.js'
import type { Root } from '../engine/engine.js'
import type { Key } from '../tree/key.js'
import type { Views } from '../tree/lookup.js'
import { type Nodes, NodeWriter } from '../tree/nodes.js'
import { writeRoot } from '../tree/root.js'
import type { Dir } from '../tree/treeobj.js'
import { apply } from './apply.js'
import type { Deadlines } from './deadlines.js'
import { Draft } from './draft.js'
import type { Group } from './group.js'
import type { LiveNamespace } from './namespace.js'
import type { OpResult } from './operation.js'
import { keysOf } from './root-keys.js'
import type { Prepared } from './transaction.js'

export type BuildPorts = {
  readonly nodes: Nodes
  readonly environment: Environment
  readonly views: Views
  /** The tree of a namespace, now or at a retained root. */
  readonly sources: (namespace: string, at: number | string | undefined) => Promise<Dir>
}

/** What a transaction that was applied answers once its group is durable. */
export type Applied = {
  readonly seq: number
  readonly results: readonly OpResult[]
  readonly effects: readonly (() => void)[]
}

/** Mutable; owned by the one loop that made it. Disposed of once its root is sent. */
export class GroupBuild implements Disposable {
  readonly group: Group
  readonly #writer: NodeWriter
  readonly #environment: Environment
  /** The root that the group follows. */
  readonly #before: Root
  readonly #blobs: Blob[] = []
  #count = 0

  private constructor(before: Root, group: Group, writer: NodeWriter, environment: Environment) {
    this.#before = before
    this.group = group
    this.#writer = writer
    this.#environment = environment
  }

  /** Begins on the namespace's newest root. Throws EDANGLING, ECORRUPT, EIO. */
  static async begin(
    ports: BuildPorts,
    namespace: LiveNamespace,
    deadlines: Deadlines,
    others?: ReadonlyMap<string, Group>,
  ): Promise<GroupBuild> {
    const { nodes, environment, views } = ports
    const { name, root: before } = namespace
    const trees = await namespace.trees(before)
    await deadlines.sync(trees.meta)
    const writer = new NodeWriter(nodes)
    const group: Group = {
      namespace: name,
      incarnation: namespace.record.incarnation,
      now: environment.now(),
      draft: new Draft(nodes, writer, trees.data),
      meta: new Draft(nodes, writer, trees.meta),
      deadlines,
      sources: (from, at) => ports.sources(from ?? name, at),
      times: namespace.times,
      nodes,
      writer,
      views: (from) => (from === name ? trees.data : views(from)),
      ...(others ? { others } : {}),
      changed: new Set<Key>(),
      appended: new Set<Key>(),
      leases: deadlines.leases.size,
    }
    return new GroupBuild(before, group, writer, environment)
  }

  /** Transactions that were applied. */
  get count(): number {
    return this.#count
  }

  /** Throws what `apply` throws; the transaction is then undone. */
  async apply(prepared: Prepared): Promise<Applied> {
    const { draft, meta, changed, appended } = this.group
    const seq = this.#before.seq + this.#count
    draft.begin()
    meta.begin()
    try {
      const work = await apply(this.group, prepared, seq)
      this.#count++
      for (const key of work.changed) changed.add(key)
      for (const key of work.appended) appended.add(key)
      this.group.leases += work.leases
      for (const blob of prepared.blobs) this.#blobs.push(blob)
      for (const blob of work.blobs) this.#blobs.push(blob)
      return { seq: seq + 1, results: work.results, effects: work.effects }
    } catch (error) {
      draft.rollback()
      meta.rollback()
      throw error
    }
  }

  /** The root that follows, and all blobs that it needs. Once. */
  async finish(): Promise<{ readonly root: Root; readonly blobs: readonly Blob[] }> {
    const { draft, meta, now, changed } = this.group
    const data = await draft.flush()
    const ref = writeRoot(this.#writer, { data, meta: await meta.flush() })
    const { seq, epoch } = this.#before
    const tx = this.#environment.id()
    const blobs = [...this.#blobs, ...this.#writer.blobs]
    const written = blobs.reduce((sum, { bytes }) => sum + bytes.length, this.#before.written ?? 0)
    const measures = { written, size: data.size }
    const head = { seq: seq + this.#count, ref, tx, time: now, epoch }
    return { root: { ...head, ...measures, ...keysOf(changed) }, blobs }
  }

  [Symbol.dispose](): void {
    this.#writer[Symbol.dispose]()
  }
}
