/** The commit loop of one namespace: while one group is on its way to the disk, the next one
 *  gathers. See rfc/17.
 *  Invariant: only this loop moves the namespace's root, one group at a time. A transaction is
 *  answered once: when it is durable, when it is certain that it will not be, or with EUNKNOWN. */

import { setImmediate } from 'node:timers/promises'
import { type Committed, waitingMax } from '../api/transaction.js'
import { type Deferred, deferred } from '../base/deferred.js'
import type { Content } from '../content/content.js'
import { OpensNextGroup } from '../draft/breaks.js'
import type { DraftGroup } from '../draft/group.js'
import type { Engine, Head, Part, Root } from '../engine/engine.js'
import { isCode, TailraceError, toTailraceError } from '../error.js'
import type { CommittedGroup, LiveNamespace, TracedTransaction } from '../past/namespace.js'
import { AnsweredBefore } from '../present/answers.js'
import { Present } from '../present/present.js'
import type { Prepared } from '../transaction/apply.js'
import { frees, ownTransaction } from '../transaction/transaction.js'
import {
  type BuildPorts,
  type Built,
  GroupBuild,
  rebaseTriesMax,
  type Taken,
  type Waiting,
} from './group-build.js'
import { type Sending, send } from './send.js'
import { type WaitingBudget, waitingSizeOf } from './waiting-budget.js'

/** The largest number of transactions in a group. */
const groupTransactionsMax = 4_096
/** The largest size of a group, in bytes (`Prepared.size`). One larger transaction is a
 *  group of its own. */
export const groupSizeMax = 4 * 1024 * 1024

/** An entry of the queue at which the loop stands still. `paused` is resolved then, and the loop goes
 *  on when `resumed` is. */
type Pause = { readonly paused: Deferred<void>; readonly resumed: Deferred<void> }
/** The transactions that a build does not answer at once. */
type Left = {
  /** The transactions that open the next group. */
  readonly rest: readonly Waiting[]
  /** The transactions that failed after others were applied. They are answered when the
   *  group is durable. */
  readonly refused: readonly { readonly waiting: Waiting; readonly error: unknown }[]
  /** The transactions of the group, applied or refused, in their order. */
  readonly ours: readonly Waiting[]
}

/** The ports of a commit loop. */
export type CommitterPorts = BuildPorts & {
  readonly engine: Engine
  readonly content: Content
  /** The memory of what waits in all commit loops of the store. */
  readonly waiting: WaitingBudget
  /** Called with each new root, before its transactions are answered. */
  readonly moved: (namespace: LiveNamespace, root: Root) => void
  /** Called with each group that became durable, before its root is visible and its transactions
   *  are answered. */
  readonly committed: (group: CommittedGroup) => void
}

/** A namespace that is there, with its commit loop. */
export type Open = { readonly live: LiveNamespace; readonly committer: Committer }

/** The commit loop of one namespace. */
export class Committer {
  /** The leases, expiring keys and time marks of the namespace. Leases and keys expire by
   *  transactions of this loop. */
  readonly present: Present
  readonly #ports: CommitterPorts
  readonly #namespace: LiveNamespace
  #queue: (Waiting | Pause)[] = []
  #queueSize = 0
  /** The end of the loop's present run; undefined while the queue is empty. */
  #running: Promise<void> | undefined
  #closed: TailraceError | undefined
  /** The monotonic time at which the present group was last sent to the engine, in ms. */
  #sentAt = 0

  constructor(ports: CommitterPorts, namespace: LiveNamespace) {
    this.#ports = ports
    this.#namespace = namespace
    this.present = new Present({
      environment: ports.environment,
      nodes: ports.nodes,
      meta: async () => (await namespace.trees(namespace.root)).meta,
      // A group of its own, so that every renewal that was sent before it counts.
      expireLeases: () => this.submit(ownTransaction({ op: 'expireLeases' }, { alone: true })),
      dateLeases: () => this.submit(ownTransaction({ op: 'dateLeases' }, { alone: true })),
      expireKeys: () => this.submit(ownTransaction({ op: 'expireKeys' })),
    })
  }

  /** Commits a transaction; resolves once it is durable. Throws EBUSY (at once where more than
   *  `waitingMax` transactions wait, or more bytes than the budget admits; later where the root is
   *  contended), ENOSPC, EIO, EUNKNOWN, ENONS, ECLOSED, and what `apply` throws. */
  submit(prepared: Prepared): Promise<Committed> {
    if (this.#closed) return Promise.reject(this.#closed)
    if (this.#queue.length >= waitingMax || !this.#ports.waiting.admits(this.#queueSize)) {
      return Promise.reject(this.#busy())
    }
    const answer = deferred<Committed>()
    this.#queue.push({ prepared, answer })
    this.#count(waitingSizeOf(prepared))
    this.#running ??= this.#run()
    return answer.promise
  }

  /** Resolves when all that was submitted before is answered. The loop then stands still until
   *  `resumed` is resolved. Throws EBUSY, ENONS, ECLOSED. */
  pause(resumed: Deferred<void>): Promise<void> {
    if (this.#closed) return Promise.reject(this.#closed)
    if (this.#queue.length >= waitingMax) return Promise.reject(this.#busy())
    const paused = deferred<void>()
    this.#queue.push({ paused, resumed })
    this.#running ??= this.#run()
    return paused.promise
  }

  /** Resolves when all that was submitted before is answered, or will never be. */
  async passed(): Promise<void> {
    const paused = deferred<void>()
    const resumed = deferred<void>()
    resumed.resolve()
    this.#queue.push({ paused, resumed })
    this.#running ??= this.#run()
    // A closed loop rejects it, also after all that was on its way.
    await paused.promise.catch(() => {})
  }

  /** Begins a group on the newest root. REQUIRES: the loop is paused until the group is published, or
   *  the caller is this loop. */
  begin(others?: ReadonlyMap<string, DraftGroup>): Promise<GroupBuild> {
    return GroupBuild.begin(this.#ports, this.#namespace, this.present, others)
  }

  /** Closes the loop: refuses what waits, and later transactions, with `reason`. Resolves when the
   *  group that is on its way is answered; the namespace's root moves no more from then on. */
  async close(reason: TailraceError): Promise<void> {
    this.#closed ??= reason
    while (this.#running) await this.#running
  }

  /** Opens a closed loop again. Called where the removal of the namespace has failed. */
  reopen(): void {
    this.#closed = undefined
  }

  async #run(): Promise<void> {
    // Waits one turn of the event loop, so that all who submit in this turn, from many
    // sockets, share a group.
    await setImmediate()
    while (this.#queue.length > 0) {
      const group = this.#take()
      if ('paused' in group) {
        await this.#standStill(group)
        continue
      }
      if (this.#closed) {
        for (const waiting of group) waiting.answer.reject(this.#closed)
        continue
      }
      await this.#commit(group)
    }
    this.#running = undefined
  }

  async #standStill({ paused, resumed }: Pause): Promise<void> {
    if (this.#closed) return paused.reject(this.#closed)
    paused.resolve()
    await resumed.promise
  }

  /** Takes the next group, or the next pause, off the queue. */
  #take(): Waiting[] | Pause {
    const group: Waiting[] = []
    let size = 0
    let waitingSize = 0
    for (const waiting of this.#queue) {
      const count = group.length
      if ('paused' in waiting) {
        if (count > 0) break
        this.#queue = this.#queue.slice(1)
        return waiting
      }
      const { prepared } = waiting
      if (prepared.noMerge && count > 0) break
      if (count === groupTransactionsMax || (count > 0 && size + prepared.size > groupSizeMax))
        break
      group.push(waiting)
      size += prepared.size
      waitingSize += waitingSizeOf(prepared)
      if (prepared.noMerge) break
    }
    this.#count(-waitingSize)
    this.#queue = this.#queue.slice(group.length)
    return group
  }

  /** Puts transactions back to the front of the queue. */
  #giveBack(waiting: readonly Waiting[]): void {
    if (waiting.length === 0) return
    for (const { prepared } of waiting) this.#count(waitingSizeOf(prepared))
    this.#queue = [...waiting, ...this.#queue]
  }

  /** Adds `by` bytes to what waits here, and in all namespaces. */
  #count(by: number): void {
    this.#queueSize += by
    this.#ports.waiting.change(by)
  }

  /** Commits a group, and answers its transactions; those that open the next group go back to the
   *  queue. Never throws. */
  async #commit(group: readonly Waiting[]): Promise<void> {
    let ours = group
    let refused: Left['refused'] = []
    try {
      for (let tries = 0; tries < rebaseTriesMax; tries++) {
        refused = []
        const built = await this.#build(ours)
        this.#giveBack(built.rest)
        ;({ ours, refused } = built)
        if (ours.length === 0) return
        const head = await this.#send(built)
        if (head) {
          await this.publish(built, head)
          for (const { waiting, error } of refused) waiting.answer.reject(toTailraceError(error))
          return
        }
        // Somebody else moved the root: applies the same transactions on theirs.
      }
      const message = `the root of ${this.#namespace.name} is contended: send it again`
      throw new TailraceError('EBUSY', message)
    } catch (error) {
      // The group was not stored, so that its refused transactions are judged again.
      const again = new Set(refused.map(({ waiting }) => waiting))
      // On a full disk the transactions that free space are tried again without the others.
      const freeing = ours.filter(({ prepared }) => frees(prepared))
      if (isCode(error, 'ENOSPC') && freeing.length < ours.length) {
        for (const waiting of freeing) again.add(waiting)
      }
      for (const waiting of ours) {
        if (!again.has(waiting)) waiting.answer.reject(toTailraceError(error))
      }
      this.#giveBack(ours.filter((waiting) => again.has(waiting)))
    }
  }

  /** Tells of a stored group, moves the namespace to its root, or to a newer one, and answers its
   *  transactions. REQUIRES: the engine has stored the group. `head`: the newest root and
   *  revision since then. */
  async publish(built: Built, head: Pick<Head, 'root' | 'revision'>): Promise<void> {
    // A namespace that only takes part in another's transaction has none: that one tells of all.
    if (built.taken.length > 0) this.#ports.committed(this.#measured(built))
    await this.#ports.content.remember(built.blobs)
    this.#advance({ root: built.root, revision: head.revision })
    if (head.root.tx !== built.root.tx) this.follow(head)
    const { ref } = built.root
    for (const { applied } of built.taken) for (const effect of applied.effects) effect()
    for (const { waiting, applied } of built.taken) {
      const { seq, results, repeated } = applied
      waiting.answer.resolve(repeated ? { seq, ref, results, repeated } : { seq, ref, results })
    }
  }

  /** Moves the namespace to a root that somebody else made, or may have made. */
  follow(head: Pick<Head, 'root' | 'revision'>): void {
    this.present.lose()
    this.#advance(head)
  }

  #advance(head: Pick<Head, 'root' | 'revision'>): void {
    this.#namespace.advance(head.root, head.revision)
    this.#ports.moved(this.#namespace, head.root)
  }

  /** Applies the transactions to a draft, one after the other, and makes the root. A transaction
   *  that fails is answered at once only if no earlier one of the group was applied: nobody is told
   *  of a state that a crash could take back. */
  async #build(group: readonly Waiting[]): Promise<Built & Left> {
    using build = await this.begin()
    const taken: Taken[] = []
    const refused: { waiting: Waiting; error: unknown }[] = []
    const ours: Waiting[] = []
    let rest: readonly Waiting[] = []
    for (const [index, waiting] of group.entries()) {
      try {
        taken.push({ waiting, applied: await build.apply(waiting.prepared) })
        ours.push(waiting)
      } catch (error) {
        if (error instanceof OpensNextGroup) {
          rest = group.slice(index)
          break
        }
        if (error instanceof AnsweredBefore) waiting.answer.resolve(error.committed)
        else if (taken.length === 0) waiting.answer.reject(toTailraceError(error))
        else {
          refused.push({ waiting, error })
          ours.push(waiting)
        }
      }
    }
    const left = { rest, refused, ours }
    if (taken.length === 0) return { taken, ...left, root: this.#namespace.root, blobs: [] }
    return { taken, ...left, ...(await build.finish()) }
  }

  /** Makes the part of an engine commit for a group, and notes the time at which it is sent.
   *  REQUIRES: the namespace is still at the root that the group was built on. */
  sending({ root, blobs, taken }: Built): Sending {
    this.#sentAt = this.#ports.environment.monotonic()
    const { name, record, revision, root: before } = this.#namespace
    const { known: retained } = this.#namespace.retention
    const part: Part = {
      namespace: name,
      incarnation: record.incarnation,
      expected: revision,
      root,
      blobs,
      ...(retained === undefined ? {} : { retained }),
      ...(taken.every(({ waiting }) => frees(waiting.prepared)) && { frees: true }),
    }
    return { part, after: before.seq }
  }

  /** The number of transactions that wait, and of their bytes. */
  get waiting(): { readonly count: number; readonly size: number } {
    return { count: this.#queue.length, size: this.#queueSize }
  }

  #measured({ root, taken, blobs }: Built): CommittedGroup {
    const durableMs = this.#ports.environment.monotonic() - this.#sentAt
    const size = blobs.reduce((sum, { bytes }) => sum + bytes.length, 0)
    const traced: TracedTransaction[] = []
    for (const { waiting, applied } of taken) {
      const { trace, ops } = waiting.prepared
      if (trace === undefined) continue
      const writes = ops.flatMap((op, at) => {
        if (!('key' in op)) return []
        const { index, count } = applied.results[at] ?? {}
        return [{ key: op.key, ...(op.op === 'append' && { index, count }) }]
      })
      traced.push({ trace, namespace: this.#namespace.name, seq: root.seq, writes })
    }
    return { transactions: taken.length, blobs: blobs.length, size, durableMs, traced }
  }

  #busy(): TailraceError {
    const message = `${this.#queue.length} transactions wait in ${this.#namespace.name}: send this one again later`
    return new TailraceError('EBUSY', message)
  }

  /** Sends a group to the engine. Returns the newest root once the group's root is in the history:
   *  this one, or a later one. Undefined where somebody else moved the root; the namespace then
   *  follows. Throws what `send` throws. */
  async #send(built: Built): Promise<Pick<Head, 'root' | 'revision'> | undefined> {
    const [sent] = await send(this.#ports.engine, [this.sending(built)])
    if (sent?.stored) return sent.head
    if (sent) this.follow(sent.head)
    return undefined
  }
}
