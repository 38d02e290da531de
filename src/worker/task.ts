/** Calls of a pool that are not answered, and the queue of those that wait for a worker, apart by the labels
 *  that they need. See rfc/25, rules 13, 14 and 19.
 *  Invariant: a label stands in a queue exactly while a call of it waits, so that a walk over its labels is
 *  one over what can be given away. */

import { type Deferred, deferred } from '../base/deferred.js'
import type { PooledAnswer, PooledCall } from '../flow/caller.js'

/** A call that is not answered. Mutable; owned by the pool, and by the member that has it. */
export class Task {
  readonly call: PooledCall
  readonly answered: Deferred<PooledAnswer> = deferred()
  /** The workers that ended while they had it in hand. */
  deaths = 0
  /** Its number, once it was sent. */
  seq: number | undefined
  hasBegun = false
  /** True once it was told that it waits for a worker to join. */
  isToldWaiting = false
  fetchMs = 0
  /** The bytes of the inputs that were sent with it. */
  sentSize = 0

  constructor(call: PooledCall) {
    this.call = call
  }

  /** Begins it, if that was not known yet. */
  begin(): void {
    if (this.hasBegun) return
    this.hasBegun = true
    this.call.begin()
  }

  /** Makes it as it was before it was given to a worker that refused it. */
  refuse(worker: string, error: unknown): void {
    this.hasBegun = false
    this.seq = undefined
    this.call.refused(worker, error)
  }

  /** Makes it as it was before it was given to a worker. */
  reset(): void {
    if (this.hasBegun) this.call.lost()
    this.hasBegun = false
    this.seq = undefined
  }
}

/** The label of a call; undefined for one that all workers may run. */
export type Label = string | undefined

/** The queue. Mutable; owned by its pool. */
export class TaskQueue {
  readonly #tasks = new Map<Label, Task[]>()

  /** The labels of the calls that wait. */
  get labels(): readonly Label[] {
    return [...this.#tasks.keys()]
  }

  get isEmpty(): boolean {
    return this.#tasks.size === 0
  }

  /** The calls that wait, those of one label in their order. */
  get all(): readonly Task[] {
    return [...this.#tasks.values()].flat()
  }

  /** Returns the calls of a label, in their order. */
  of(label: Label): readonly Task[] {
    return this.#tasks.get(label) ?? []
  }

  /** Adds a call behind the others. */
  push(task: Task): void {
    const { label } = task.call
    const tasks = this.#tasks.get(label)
    if (tasks) tasks.push(task)
    else this.#tasks.set(label, [task])
  }

  /** Adds calls before the others. */
  putBack(tasks: readonly Task[]): void {
    for (const task of [...tasks].reverse()) {
      const waiting = this.#tasks.get(task.call.label)
      if (waiting) waiting.unshift(task)
      else this.#tasks.set(task.call.label, [task])
    }
  }

  /** Takes the first call of a label; undefined if there is none. */
  take(label: Label): Task | undefined {
    const tasks = this.#tasks.get(label)
    const task = tasks?.shift()
    if (tasks?.length === 0) this.#tasks.delete(label)
    return task
  }

  /** Takes a call away. Returns false if it does not wait here. */
  remove(task: Task): boolean {
    const { label } = task.call
    const tasks = this.of(label)
    const left = tasks.filter((each) => each !== task)
    if (left.length === 0) this.#tasks.delete(label)
    else this.#tasks.set(label, left)
    return left.length < tasks.length
  }

  /** Takes all calls away, and returns them. */
  clear(): readonly Task[] {
    const { all } = this
    this.#tasks.clear()
    return all
  }
}
