/** The writer of the durable engine, which writes one record of the journal at a time: while one is on
 *  its way to the disk, the next one gathers. See rfc/4, rule 14.
 *  Invariant: jobs are planned in the order in which they came, on the state that all earlier
 *  transactions left. A job is answered only when its transaction is durable or has failed. */

import { deferred } from '../base/deferred.js'
import type { Blob } from '../blob/blob.js'
import type { Blobref } from '../blob/blobref.js'
import { isCode, isFullError, TailraceError, toTailraceError } from '../error.js'
import { NotAppended } from '../journal/journal.js'
import type { Health } from './health.js'
import { Reserve, reservedSizeMin } from './reserve.js'
import { Writes } from './tables.js'
import type { WritePace } from './write-pace.js'

/** The largest number of jobs that wait; above it EBUSY at once. */
export const jobsMax = 65_536
/** The largest size of the blobs in one record, in bytes. One larger job has a record of its
 *  own. */
export const groupSizeMax = 32 * 1024 * 1024

/** The content of one record, to which its jobs add. */
export type WriteGroup = {
  readonly writes: Writes
  /** Blobs that are stored unless they are there. */
  readonly blobs: Blob[]
  /** Blobs that are stored again, in another place. */
  readonly moved: Blob[]
  /** The refs that are dropped. */
  readonly drops: Set<Blobref>
  /** True if the record begins a new segment. */
  rolls: boolean
}

/** A job of the writer. */
export type Job<T> = {
  /** The namespaces that the job changes. Two jobs of one transaction have none in common. */
  readonly names: readonly string[]
  /** The blobs that count for the size of the transaction. */
  readonly blobs: readonly Blob[]
  /** Adds the job's changes to the group. Returns a function that runs once they are durable, and
   *  gives the answer. A plan that throws fails alone. REQUIRES: it throws before it adds anything,
   *  and may be called again. */
  readonly plan: (group: WriteGroup) => () => T
  /** True if the job frees more space than it takes. On a full disk it may have a part of the
   *  reserve, and is then planned again. */
  readonly frees?: boolean
  /** True for background work: the job shares the next record of the writers, and has one of its own
   *  only where no writer comes. */
  readonly patient?: boolean
}

/** The outcome of a job. */
export type WriteOutcome<T> =
  | { readonly stored: true; readonly value: T }
  | { readonly stored: false; readonly applied: 'no' | 'unknown'; readonly error: TailraceError }

type Failure = Extract<WriteOutcome<never>, { readonly stored: false }>

type Waiting = {
  readonly names: readonly string[]
  readonly size: number
  readonly frees: boolean
  readonly patient: boolean
  readonly plan: (group: WriteGroup) => () => void
  readonly fail: (failure: Failure) => void
  readonly refuse: (error: unknown) => void
}

type WriterOptions = {
  readonly health: Health
  readonly pace: WritePace
  readonly directory: string
  /** The bytes of all blobs, for which a reserve is worth its place or not. */
  readonly stored: () => number
  /** Waits until the tables can take what another record adds. Throws ENOSPC, EIO. */
  readonly ready: () => Promise<void>
  /** Completes a group, and returns the function that writes it: that one resolves, once the record
   *  is durable, to what runs before any job is answered. Undefined where there is nothing to write.
   *  All may wait for later turns: no other record is written meanwhile. The function throws
   *  `NotAppended`, or another error where it is unknown what is on the disk. */
  readonly complete: (
    group: WriteGroup,
  ) => Promise<(() => Promise<() => Promise<void>>) | undefined>
}

/** The queue of jobs, and the loop that writes them. */
export class Writer {
  readonly #options: WriterOptions
  readonly #reserve: Reserve
  /** The jobs that wait, in their order. */
  #queue: Waiting[] = []
  #running: Promise<void> | undefined

  constructor(options: WriterOptions) {
    this.#options = options
    this.#reserve = new Reserve(options.directory)
  }

  /** Submits a job. Resolves when its transaction has ended, or at once to EBUSY if too many wait.
   *  Rejects with the error that its plan throws. */
  submit<T>(job: Job<T>): Promise<WriteOutcome<T>> {
    if (this.#queue.length >= jobsMax) {
      const error = new TailraceError('EBUSY', `${jobsMax} commits wait for the disk: retry later`)
      return Promise.resolve({ stored: false, applied: 'no', error })
    }
    const answer = deferred<WriteOutcome<T>>()
    this.#queue.push({
      names: job.names,
      size: job.blobs.reduce((sum, blob) => sum + blob.bytes.length, 0),
      frees: job.frees === true,
      patient: job.patient === true,
      plan: (group) => {
        const settle = job.plan(group)
        return () => answer.resolve({ stored: true, value: settle() })
      },
      fail: answer.resolve,
      refuse: answer.reject,
    })
    if (!job.patient) this.#options.pace.submitted()
    this.#running ??= this.#run()
    return answer.promise
  }

  /** Resolves when no job waits or is under way. */
  async drained(): Promise<void> {
    await this.#running
  }

  /** Runs `act`. On a full disk it gives parts of the reserve back to the disk, and runs `act`
   *  again. Throws what `act` throws. */
  async withReserve<T>(act: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await act()
      } catch (error) {
        if (!isCode(error, 'ENOSPC') || !this.#reserve.release()) throw error
      }
    }
  }

  async #run(): Promise<void> {
    // Waits for the other jobs of this turn, which share the transaction. It does not wait for the
    // next turn of the event loop: under a flood of output that takes milliseconds, in which the
    // disk would be idle.
    await Promise.resolve()
    while (this.#queue.length > 0) {
      if (this.#queue.every((job) => job.patient)) await this.#options.pace.company()
      await this.#commit(this.#take())
    }
    this.#running = undefined // no await between the look at the empty queue and this
  }

  #take(): Waiting[] {
    const names = new Set<string>()
    let size = 0
    let count = 0
    for (const job of this.#queue) {
      const full = count > 0 && size + job.size > groupSizeMax
      if (full || job.names.some((name) => names.has(name))) break
      for (const name of job.names) names.add(name)
      size += job.size
      count++
    }
    return this.#queue.splice(0, count)
  }

  async #commit(all: readonly Waiting[]): Promise<void> {
    const { broken } = this.#options.health
    if (broken) return failAll(all, { stored: false, applied: 'no', error: broken })
    const jobs = await this.#admit(all)
    const group: WriteGroup = {
      ...{ writes: new Writes(), blobs: [], moved: [], drops: new Set(), rolls: false },
    }
    const planned: Waiting[] = []
    const settles: (() => void | Promise<void>)[] = []
    for (const job of jobs) {
      try {
        settles.push(job.plan(group))
        planned.push(job)
      } catch (error) {
        job.refuse(error)
      }
    }
    const isOwn = planned.every((job) => job.patient)
    const failure = await this.#store(group, settles, isOwn ? undefined : this.#options.pace)
    if (!failure) {
      try {
        for (const settle of settles) {
          const settling = settle()
          if (settling) await settling
        }
      } catch (error) {
        // The record is durable, but memory does not have all of it: the next open takes it in.
        const broken = this.#options.health.break(error)
        failAll(planned, { stored: false, applied: 'unknown', error: broken })
      }
      return
    }
    const freeing = planned.filter((job) => job.frees)
    const again = freeing.length > 0 && failure.error.code === 'ENOSPC' && this.#reserve.release()
    failAll(again ? planned.filter((job) => !job.frees) : planned, failure)
    if (again) this.#queue.unshift(...freeing)
  }

  /** Returns the jobs that may run. Jobs that free nothing are refused while the tables cannot take
   *  more, and while the reserve is not whole and cannot be made so (rfc/4, rule 31). */
  async #admit(jobs: readonly Waiting[]): Promise<readonly Waiting[]> {
    const { health, ready } = this.#options
    const ordinary = jobs.filter((job) => !job.frees)
    const freeing = jobs.filter((job) => job.frees)
    try {
      await ready()
    } catch (error) {
      const failure = { stored: false, applied: 'no', error: toTailraceError(error) } as const
      failAll(isCode(error, 'ENOSPC') ? ordinary : jobs, failure)
      return isCode(error, 'ENOSPC') ? freeing : []
    }
    if (this.#reserve.isWhole || !this.#isReserved() || ordinary.length === 0) return jobs
    if ((await this.#reserve.make()) !== 'full') return jobs
    failAll(ordinary, { stored: false, applied: 'no', error: health.full() })
    return freeing
  }

  #isReserved(): boolean {
    return this.#options.stored() >= reservedSizeMin || this.#reserve.isThere
  }

  async #store(
    group: WriteGroup,
    settles: (() => void | Promise<void>)[],
    pace: WritePace | undefined,
  ): Promise<Failure | undefined> {
    const { health, complete } = this.#options
    let write: Awaited<ReturnType<typeof complete>>
    try {
      write = await complete(group)
    } catch (error) {
      return { stored: false, applied: 'no', error: toTailraceError(error) }
    }
    if (!write) return undefined
    try {
      const written = write()
      pace?.begun() // the disk has it: background work may use the processor
      settles.unshift(await written)
      return undefined
    } catch (error) {
      if (!(error instanceof NotAppended))
        return { stored: false, applied: 'unknown', error: health.break(error) }
      const { cause } = error
      const reason = isFullError(cause) ? health.full(cause) : toTailraceError(cause)
      return { stored: false, applied: 'no', error: reason }
    } finally {
      pace?.ended()
    }
  }
}

function failAll(jobs: readonly Waiting[], failure: Failure): void {
  for (const job of jobs) job.fail(failure)
}

/** Returns the answer of a job. Throws its error if it was not stored. */
export function stored<T>(answer: WriteOutcome<T>): T {
  if (answer.stored) return answer.value
  throw answer.error
}
