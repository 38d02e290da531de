/** The commit loop of one namespace: while one group is on its way to disk, the next gathers. See
 *  rfc/6.
 *  Invariant: only this loop moves the namespace's root, one group at a time; a transaction is
 *  answered once, after it is durable or when it is certain that it is not. */

import { setImmediate } from 'node:timers/promises'
import { type Deferred, deferred } from '../base/deferred.js'
import type { Blob } from '../blob/blob.js'
import type { Content } from '../content/content.js'
import type { Engine, Head, Part, Revision, Root } from '../engine/engine.js'
import { TailraceError, toTailraceError } from '../error.js'
import { Deadlines } from './deadlines.js'
import { expireKeysTransaction } from './expire.js'
import { type Applied, type BuildPorts, GroupBuild } from './group-build.js'
import { expireLeasesTransaction } from './leases.js'
import type { LiveNamespace } from './namespace.js'
import { type Committed, waitingMax, waitingSizeMax } from './operation.js'
import { OpensNextGroup } from './places.js'
import type { Prepared } from './transaction.js'

/** A group takes transactions until one of these is reached. */
export const groupTransactionsMax = 4_096
export const groupSizeMax = 4 * 1024 * 1024
/** The same commit is sent this often before its outcome is called unknown. */
export const commitTriesMax = 8
/** How often a group is applied anew on a root that somebody else has moved. */
export const rebaseTriesMax = 16

type Waiting = { readonly prepared: Prepared; readonly answer: Deferred<Committed> }
type Taken = Applied & { readonly waiting: Waiting }
type Built = {
  readonly taken: readonly Taken[]
  /** These open the next group. */
  readonly rest: readonly Waiting[]
  readonly root: Root
  readonly blobs: readonly Blob[]
}

export type CommitterPorts = BuildPorts & {
  readonly engine: Engine
  readonly content: Content
  /** Told of each new root, before its transactions are answered. */
  readonly moved: (namespace: LiveNamespace, root: Root) => void
}

export class Committer {
  /** What ends by itself, through this loop. */
  readonly deadlines: Deadlines
  readonly #ports: CommitterPorts
  readonly #namespace: LiveNamespace
  #queue: Waiting[] = []
  #queueSize = 0
  /** The group that is on its way, for `close`. */
  #running: Promise<void> | undefined
  #closed: TailraceError | undefined

  constructor(ports: CommitterPorts, namespace: LiveNamespace) {
    this.#ports = ports
    this.#namespace = namespace
    this.deadlines = new Deadlines({
      environment: ports.environment,
      nodes: ports.nodes,
      meta: async () => (await namespace.trees(namespace.root)).meta,
      expireLeases: () => this.submit(expireLeasesTransaction),
      expireKeys: () => this.submit(expireKeysTransaction),
    })
  }

  /** Resolves once durable. Throws EBUSY at once where too much waits, ENONS, and what `apply` throws. */
  submit(prepared: Prepared): Promise<Committed> {
    if (this.#closed) return Promise.reject(this.#closed)
    if (this.#queue.length >= waitingMax || this.#queueSize > waitingSizeMax) {
      const message = `${this.#queue.length} transactions wait in ${this.#namespace.name}: send this one again later`
      return Promise.reject(new TailraceError('EBUSY', message))
    }
    const answer = deferred<Committed>()
    this.#queue.push({ prepared, answer })
    this.#queueSize += prepared.size
    this.#running ??= this.#run()
    return answer.promise
  }

  /** Takes nothing more, and answers what waits, with `reason`. Resolves when the group that is on its
   *  way is answered: the namespace's root then moves no more. */
  async close(reason: TailraceError): Promise<void> {
    this.#closed ??= reason
    while (this.#running) await this.#running
  }

  /** Takes transactions again: what it was closed for has failed. */
  reopen(): void {
    this.#closed = undefined
  }

  async #run(): Promise<void> {
    // Whoever submits in this turn of the event loop, each from its own socket, shares the group.
    await setImmediate()
    while (this.#queue.length > 0) {
      const group = this.#take()
      if (this.#closed) {
        for (const waiting of group) waiting.answer.reject(this.#closed)
        continue
      }
      await this.#commit(group)
    }
    this.#running = undefined
  }

  #take(): Waiting[] {
    let count = 0
    let size = 0
    for (const { prepared } of this.#queue) {
      if (prepared.noMerge && count > 0) break
      if (count === groupTransactionsMax || (count > 0 && size + prepared.size > groupSizeMax))
        break
      count++
      size += prepared.size
      if (prepared.noMerge) break
    }
    this.#queueSize -= size
    const group = this.#queue.slice(0, count)
    this.#queue = this.#queue.slice(count)
    return group
  }

  /** Puts transactions back to where they were taken from. */
  #giveBack(waiting: readonly Waiting[]): void {
    if (waiting.length === 0) return
    for (const each of waiting) this.#queueSize += each.prepared.size
    this.#queue = [...waiting, ...this.#queue]
  }

  /** Answers each of the group, but those that open the next one. Never throws. */
  async #commit(group: readonly Waiting[]): Promise<void> {
    let ours = group
    try {
      for (let tries = 0; tries < rebaseTriesMax; tries++) {
        const expected = this.#namespace.revision
        const built = await this.#build(ours)
        this.#giveBack(built.rest)
        ours = built.taken.map(({ waiting }) => waiting)
        if (ours.length === 0) return
        const head = await this.#send(built, expected)
        if (head) return this.#publish(built, head)
        // Somebody else moved the root: apply the same transactions on theirs.
      }
      const message = `the root of ${this.#namespace.name} is contended: send it again`
      throw new TailraceError('EBUSY', message)
    } catch (error) {
      for (const { answer } of ours) answer.reject(toTailraceError(error))
    }
  }

  #publish(built: Built, head: Pick<Head, 'root' | 'revision'>): void {
    this.#ports.content.remember(built.blobs)
    this.#follow({ root: built.root, revision: head.revision })
    if (head.root.tx !== built.root.tx) this.#followOther(head)
    const { ref } = built.root
    for (const { effects } of built.taken) for (const effect of effects) effect()
    for (const { waiting, seq, results } of built.taken) {
      waiting.answer.resolve({ seq, ref, results })
    }
  }

  /** A root that this loop did not make, or does not know to have made. */
  #followOther(head: Pick<Head, 'root' | 'revision'>): void {
    this.deadlines.lose()
    this.#follow(head)
  }

  #follow(head: Pick<Head, 'root' | 'revision'>): void {
    this.#namespace.advance(head.root, head.revision)
    this.#ports.moved(this.#namespace, head.root)
  }

  /** Applies each transaction on a draft and answers those that fail. */
  async #build(group: readonly Waiting[]): Promise<Built> {
    using build = await GroupBuild.begin(this.#ports, this.#namespace, this.deadlines)
    const taken: Taken[] = []
    let rest: readonly Waiting[] = []
    for (const [index, waiting] of group.entries()) {
      try {
        taken.push({ ...(await build.apply(waiting.prepared)), waiting })
      } catch (error) {
        if (error instanceof OpensNextGroup) {
          rest = group.slice(index)
          break
        }
        waiting.answer.reject(toTailraceError(error))
      }
    }
    if (taken.length === 0) return { taken, rest, root: this.#namespace.root, blobs: [] }
    return { taken, rest, ...(await build.finish()) }
  }

  /** The head once our root is in the history: ours, or a newer one. Undefined where the root had
   *  moved without us; the namespace then follows it. Throws what the engine says of a commit that was
   *  not stored, EUNKNOWN where that cannot be told. */
  async #send(
    built: Built,
    expected: Revision,
  ): Promise<Pick<Head, 'root' | 'revision'> | undefined> {
    const retained = this.#namespace.retention.known
    const part: Part = {
      namespace: this.#namespace.name,
      incarnation: this.#namespace.record.incarnation,
      expected,
      root: built.root,
      blobs: built.blobs,
      ...(retained === undefined ? {} : { retained }),
    }
    let failure: TailraceError | undefined
    let unknown = false
    for (let tries = 0; tries < commitTriesMax; tries++) {
      const [outcome] = await this.#ports.engine.commit([part])
      if (!outcome) throw new TailraceError('EIO', 'the engine gave no outcome')
      if (outcome.status === 'applied') return { root: built.root, revision: outcome.revision }
      if (outcome.status === 'conflict') {
        const { head } = outcome
        if (!head) {
          throw new TailraceError('ENONS', `the namespace ${this.#namespace.name} was removed`)
        }
        if (await this.#isStored(built.root, head.root)) return head
        this.#followOther(head)
        return undefined
      }
      failure = outcome.error
      unknown ||= outcome.applied === 'unknown'
      if (!unknown && failure.code !== 'ETIMEDOUT' && failure.code !== 'EBUSY') throw failure
    }
    if (!unknown && failure) throw failure
    throw new TailraceError(
      'EUNKNOWN',
      'it is not known whether the transaction was stored: look before you send it again',
      { cause: failure },
    )
  }

  /** A refusal does not prove that nothing was stored: looks for our `tx` in what was kept. */
  async #isStored(ours: Root, newest: Root): Promise<boolean> {
    if (newest.tx === ours.tx) return true
    const after = this.#namespace.root.seq
    for await (const root of this.#ports.engine.history(this.#namespace.name, after)) {
      if (root.tx === ours.tx) return true
    }
    return false
  }
}
