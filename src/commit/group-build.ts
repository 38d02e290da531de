/** Builds a commit group: applies transactions one after the other to a draft of the next tree,
 *  then makes the root that names it. See rfc/17, rules 1 to 3.
 *  Invariant: a transaction that throws leaves nothing in the draft. Nothing of the group is
 *  visible before its root. */

import type { Committed, OpResult } from '../api/transaction.js'
import type { Deferred } from '../base/deferred.js'
import type { Environment } from '../base/environment.js'
import { LoopSlice } from '../base/loop-slice.js'
import type { Blob } from '../blob/blob.js'
import { Draft } from '../draft/draft.js'
import type { DraftGroup } from '../draft/group.js'
import type { Root } from '../engine/engine.js'
import { isCode } from '../error.js'
import type { LiveNamespace } from '../past/namespace.js'
import {
  AnsweredBefore,
  type AnswerRecord,
  answered,
  forgetAnswers,
  keepAnswer,
} from '../present/answers.js'
import { takenBefore } from '../present/leases.js'
import type { Present, PresentGroup } from '../present/present.js'
import { checkQuota } from '../present/settings.js'
import { apply, type Prepared } from '../transaction/apply.js'
import { type Nodes, NodeWriter } from '../tree/nodes.js'
import { rootKeysOf, writeRoot } from '../tree/root.js'
import type { Key } from '../treeobj/key.js'
import type { Dir, Views } from '../treeobj/treeobj.js'

/** The number of times that a group is applied, each time on a root that somebody else has
 *  moved. */
export const rebaseTriesMax = 16

/** The ports that building a group needs. */
export type BuildPorts = {
  readonly nodes: Nodes
  readonly environment: Environment
  /** Gives the newest trees of other namespaces, for links. */
  readonly views: Views
  /** Returns the tree of a namespace, now or at a retained root, for copies. Throws ENONS,
   *  ECOMPACTED, EINVAL. */
  readonly sources: (namespace: string, at: number | string | undefined) => Promise<Dir>
}

/** The answer of an applied transaction, which it gets once its group is durable. */
type Applied = {
  readonly seq: number
  readonly results: readonly OpResult[]
  /** Called when the group is durable, before its answers. */
  readonly effects: readonly (() => void)[]
  /** True if an earlier transaction of the group did it under the same idempotency key. */
  readonly repeated?: true
}

/** A transaction that waits for its answer. */
export type Waiting = { readonly prepared: Prepared; readonly answer: Deferred<Committed> }
/** A transaction that was applied, and waits until its group is durable. */
export type Taken = { readonly waiting: Waiting; readonly applied: Applied }

/** A complete group: its root and blobs for the engine, and the transactions to answer. */
export type Built = {
  readonly taken: readonly Taken[]
  readonly root: Root
  readonly blobs: readonly Blob[]
}

/** A group that is being built. Mutable; owned by the loop that began it, which disposes of it
 *  after `finish`. */
export class GroupBuild implements Disposable {
  readonly group: PresentGroup
  readonly #writer: NodeWriter
  readonly #environment: Environment
  /** The root that the group follows. */
  readonly #before: Root
  readonly #namespace: LiveNamespace
  readonly #blobs: Blob[] = []
  #count = 0
  #answersKept = false

  private constructor(
    namespace: LiveNamespace,
    group: PresentGroup,
    writer: NodeWriter,
    environment: Environment,
  ) {
    this.#before = namespace.root
    this.#namespace = namespace
    this.group = group
    this.#writer = writer
    this.#environment = environment
  }

  /** Begins a group on the namespace's newest root. `others`: the groups of a joint commit, by
   *  namespace. Throws EDANGLING, ECORRUPT, EIO. */
  static async begin(
    ports: BuildPorts,
    namespace: LiveNamespace,
    present: Present,
    others?: ReadonlyMap<string, DraftGroup>,
  ): Promise<GroupBuild> {
    const { nodes, environment, views } = ports
    const { name } = namespace
    const trees = await namespace.trees(namespace.root)
    await present.sync(trees.meta)
    const writer = new NodeWriter(nodes)
    const group: PresentGroup = {
      namespace: name,
      incarnation: namespace.record.incarnation,
      now: environment.now(),
      draft: new Draft(nodes, writer, trees.data, name),
      meta: new Draft(nodes, writer, trees.meta),
      leases: present.leases,
      expiry: present.expiry,
      times: present.times,
      sources: (from, at) => ports.sources(from ?? name, at),
      nodes,
      writer,
      views: (from) => (from === name ? trees.data : views(from)),
      ...(others ? { others } : {}),
      changed: new Set<Key>(),
      appended: new Set<Key>(),
      leaseCount: present.leases.size,
      slice: new LoopSlice({ urgent: true }),
    }
    return new GroupBuild(namespace, group, writer, environment)
  }

  /** The number of transactions that were applied. */
  get count(): number {
    return this.#count
  }

  /** Applies a transaction to the draft. Throws what `apply` throws, after it has undone the
   *  transaction; EDQUOT; AnsweredBefore; EUNKNOWN (its answer was, or may have been, forgotten). */
  async apply(prepared: Prepared): Promise<Applied> {
    const { once, rights } = prepared
    // They stand until the next transaction sets its own.
    this.group.draft.rights = rights
    this.group.draft.right = 'lease'
    const seq = this.#before.seq + this.#count
    const known = once ? answered(this.group, once, seq) : takenBefore(this.group, prepared.ops)
    const answer = known && (await known)
    if (answer) return this.#again(answer)
    const { draft, meta, changed, appended } = this.group
    const { size } = draft
    draft.begin()
    meta.begin()
    try {
      const work = await apply(this.group, prepared, seq)
      if (!once && isRefused(work.results)) {
        draft.rollback()
        meta.rollback()
        return this.#unchanged(work.results)
      }
      const checked = checkQuota(this.group, size)
      if (checked) await checked
      if (once) await keepAnswer(this.group, once, { seq: seq + 1, results: work.results })
      this.#answersKept ||= once !== undefined
      this.#count++
      for (const key of work.changed) changed.add(key)
      for (const key of work.appended) appended.add(key)
      this.group.leaseCount += work.leases
      for (const blob of prepared.blobs) this.#blobs.push(blob)
      for (const blob of work.blobs) this.#blobs.push(blob)
      return { seq: seq + 1, results: work.results, effects: work.effects }
    } catch (error) {
      draft.rollback()
      meta.rollback()
      throw error
    }
  }

  /** Returns the answer of a transaction that this group has applied before. Throws AnsweredBefore
   *  for one of an earlier group. */
  async #again({ seq, results }: Pick<AnswerRecord, 'seq' | 'results'>): Promise<Applied> {
    if (seq > this.#before.seq) return { seq, results, effects: [], repeated: true }
    const { ref } = await this.#rootHolding(seq)
    throw new AnsweredBefore({ seq, ref, results, repeated: true })
  }

  /** Returns the answer of a transaction that changes nothing, and takes no seq. Throws AnsweredBefore
   *  where nobody has changed anything before it. */
  #unchanged(results: readonly OpResult[]): Applied {
    const seq = this.#before.seq + this.#count
    if (this.#count > 0) return { seq, results, effects: [] }
    throw new AnsweredBefore({ seq, ref: this.#before.ref, results })
  }

  /** Returns the root that holds a seq; the one that the group follows if the former is no
   *  longer retained. */
  async #rootHolding(seq: number): Promise<Root> {
    try {
      return await this.#namespace.roots.at(seq, this.#before)
    } catch (error) {
      if (!isCode(error, 'ECOMPACTED')) throw error
      return this.#before
    }
  }

  /** Writes the nodes of the draft, and returns the new root with all blobs that it brings.
   *  REQUIRES: called once. */
  async finish(): Promise<{ readonly root: Root; readonly blobs: readonly Blob[] }> {
    if (this.#answersKept) await forgetAnswers(this.group)
    const { draft, meta, now, changed } = this.group
    const data = await draft.flush()
    const ref = writeRoot(this.#writer, { data, meta: await meta.flush() })
    const { seq, epoch } = this.#before
    const tx = this.#environment.id()
    const blobs = [...this.#blobs, ...this.#writer.blobs]
    const written = blobs.reduce((sum, { bytes }) => sum + bytes.length, this.#before.written ?? 0)
    const measures = { written, size: data.size }
    const head = { seq: seq + this.#count, ref, tx, time: now, epoch }
    return { root: { ...head, ...measures, ...rootKeysOf(changed) }, blobs }
  }

  [Symbol.dispose](): void {
    this.#writer[Symbol.dispose]()
  }
}

/** True if a transaction has nothing but takes, all of which were refused (rfc/9, rule 2). */
function isRefused(results: readonly OpResult[]): boolean {
  return results.length > 0 && results.every(({ refused }) => refused !== undefined)
}
