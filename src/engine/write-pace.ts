/** The pace of background work beside the writers: a collection works while the disk is busy with
 *  their records, and shares these records with them. See rfc/4, rule 32.
 *  Invariant: background work waits for writers only as long as they keep coming. It measures the disk
 *  and the event loop of this process, so its clock is the real one. */

import { setImmediate } from 'node:timers/promises'
import { deferred } from '../base/deferred.js'
import { Wakeup } from '../base/wakeup.js'

/** The time for which a writer is expected to come again, in ms. */
const busyMs = 100
/** The time that background work may take at once while nobody writes, in ms. */
export const freeSliceMs = 2
/** The least time that it may take at once, in ms: less would be used up by the way there. */
const sliceMsMin = 0.4
/** The share of the time of a record for which background work runs beside it. */
const sliceShare = 0.5
/** The bounds of the time, in ms, for which background work waits for the next record of the writers.
 *  Between them it is twice the time of a record: who goes alone keeps a writer waiting so long. */
const [patienceMsMin, patienceMsMax] = [1, 20]
/** The weight of the newest record in the mean time of a record. */
const newestWeight = 1 / 16

/** The pace of one engine. The writer tells it of jobs and records; background work asks it. */
export class WritePace {
  /** Wakes when a writer submits a job. */
  readonly #submitted = new Wakeup()
  /** Wakes when a record of the writers is on its way to the disk, and when it has ended. */
  readonly #begun = new Wakeup()
  readonly #ended = new Wakeup()
  #submittedAt = Number.NEGATIVE_INFINITY
  #begunAt: number | undefined
  #endedAt = Number.NEGATIVE_INFINITY
  /** The mean time of a record, in ms. */
  #recordMs = 1

  /** Notes a job of a writer. */
  submitted(): void {
    this.#submittedAt = performance.now()
    this.#submitted.wake()
  }

  /** Notes that a record of the writers is on its way to the disk. */
  begun(): void {
    this.#begunAt = performance.now()
    this.#begun.wake()
  }

  /** Notes that this record is durable, or has failed. */
  ended(): void {
    this.#endedAt = performance.now()
    const tookMs = this.#endedAt - (this.#begunAt ?? this.#endedAt)
    this.#recordMs += (tookMs - this.#recordMs) * newestWeight
    this.#begunAt = undefined
    this.#ended.wake()
  }

  /** True while writers come one after the other. */
  get isBusy(): boolean {
    return this.#begunAt !== undefined || performance.now() - this.#submittedAt < busyMs
  }

  /** The time, in ms, that background work may take before it asks again. */
  get sliceMs(): number {
    if (!this.isBusy) return freeSliceMs
    return Math.min(freeSliceMs, Math.max(sliceMsMin, this.#recordMs * sliceShare))
  }

  /** Resolves once background work may take a slice, in a later turn of the event loop: while writers
   *  keep coming, once their next record is on its way to the disk. */
  async turn(): Promise<void> {
    const seen = this.#begun.count
    while (this.#begunAt !== undefined && this.#begun.count === seen) {
      await this.#ended.wait(this.#ended.count)
    }
    if (this.#begun.count === seen && !(await this.#await(this.#begun, seen))) await setImmediate()
  }

  /** Resolves once a writer has submitted a job, which background work can share a record with, or
   *  none comes. */
  async company(): Promise<void> {
    await this.#await(this.#submitted, this.#submitted.count)
  }

  /** Waits for a wake-up as long as writers may come. Resolves to true if it came. */
  async #await(wakeup: Wakeup, seen: number): Promise<boolean> {
    const patienceMs = Math.min(patienceMsMax, Math.max(patienceMsMin, 2 * this.#recordMs))
    const leftMs = this.#endedAt + patienceMs - performance.now()
    if (leftMs <= 0) return false
    const over = deferred<void>()
    const timer = setTimeout(over.resolve, leftMs)
    void wakeup.wait(seen).then(over.resolve) // never rejects without a signal
    await over.promise
    clearTimeout(timer)
    return wakeup.count !== seen
  }
}
