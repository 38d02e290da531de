/** The writer of the durable engine, which runs one transaction at a time: while one is on its way
 *  to the disk, the next one gathers. See rfc/4, rule 14.
 *  Invariant: jobs are planned in the order in which they came, on the state that all earlier
 *  transactions left. A job is answered only when its transaction is durable or has failed. */

import { deferred } from '../base/deferred.js'
import type { Blob } from '../blob/blob.js'
import { TailraceError, toTailraceError } from '../error.js'
import { isFull } from './disk.js'
import { Reserve, reservedSizeMin, reserveSize } from './reserve.js'
import type { SweepPlan } from './sweep.js'
import { type Tables, Writes } from './tables.js'

/** The largest number of jobs that wait; above it EBUSY at once. */
export const jobsMax = 65_536
/** The largest size of the blobs in one transaction, in bytes. One larger job has a
 *  transaction of its own. */
export const groupSizeMax = 32 * 1024 * 1024

/** The changes of one transaction, which its jobs add to. */
export type WriteGroup = {
  readonly writes: Writes
  readonly blobs: Blob[]
  readonly sweeps: SweepPlan[]
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
  readonly plan: (group: WriteGroup) => () => void
  readonly fail: (failure: Failure) => void
  readonly refuse: (error: unknown) => void
}

type WriterOptions = {
  readonly tables: Tables
  readonly directory: string
  /** Adds the blobs and the changes that every transaction carries. Returns a function that runs
   *  once they are durable, before any job is answered. Both may wait for later turns: no other
   *  transaction begins meanwhile. */
  readonly complete: (group: WriteGroup) => Promise<() => Promise<void>>
}

/** The queue of jobs, and the loop that commits them. */
export class Writer {
  readonly #tables: Tables
  readonly #directory: string
  readonly #complete: (group: WriteGroup) => Promise<() => Promise<void>>
  readonly #reserve: Reserve
  /** The jobs that wait, in their order. */
  #queue: Waiting[] = []
  #running: Promise<void> | undefined
  /** The first failure that was not a full disk. It is never cleared: the content of the disk is
   *  unknown then, and a later sync that succeeds would prove nothing. */
  #broken: TailraceError | undefined

  constructor(options: WriterOptions) {
    this.#tables = options.tables
    this.#directory = options.directory
    this.#complete = options.complete
    this.#reserve = new Reserve(options.directory)
  }

  /** The error for which nothing can be written any more; undefined while writes work. */
  get broken(): TailraceError | undefined {
    return this.#broken
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
      plan: (group) => {
        const settle = job.plan(group)
        return () => answer.resolve({ stored: true, value: settle() })
      },
      fail: answer.resolve,
      refuse: answer.reject,
    })
    this.#running ??= this.#run()
    return answer.promise
  }

  /** Resolves when no job waits or is under way. */
  async drained(): Promise<void> {
    await this.#running
  }

  /** Runs a transaction outside of the queue. REQUIRES: `drained`, and nothing is submitted
   *  meanwhile. Throws ENOSPC, EIO. */
  async write(writes: Writes): Promise<void> {
    if (this.#broken) throw this.#broken
    try {
      await this.#tables.write(writes)
    } catch (cause) {
      throw (await this.#diagnose(writes.size, cause)).error
    }
  }

  async #run(): Promise<void> {
    // Waits for the other jobs of this turn, which share the transaction. It does not wait for the
    // next turn of the event loop: under a flood of output that takes milliseconds, in which the
    // disk would be idle.
    await Promise.resolve()
    while (this.#queue.length > 0) await this.#commit(this.#take())
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
    if (this.#broken) return failAll(all, { stored: false, applied: 'no', error: this.#broken })
    const jobs = await this.#admit(all)
    const group: WriteGroup = { writes: new Writes(), blobs: [], sweeps: [] }
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
    const failure = await this.#store(group, settles)
    if (!failure) {
      for (const settle of settles) {
        const settling = settle()
        if (settling) await settling
      }
      return
    }
    const freeing = planned.filter((job) => job.frees)
    const again = freeing.length > 0 && failure.error.code === 'ENOSPC' && this.#reserve.release()
    failAll(again ? planned.filter((job) => !job.frees) : planned, failure)
    if (again) this.#queue.unshift(...freeing)
  }

  /** Returns the jobs that may run. While the reserve is not whole and cannot be made so, it
   *  refuses the jobs that free nothing, unless the file has enough free pages (rfc/4, rule 31). */
  async #admit(jobs: readonly Waiting[]): Promise<readonly Waiting[]> {
    if (this.#reserve.isWhole || !this.#isReserved()) return jobs
    const ordinary = jobs.filter((job) => !job.frees)
    if (ordinary.length === 0 || (await this.#reserve.make()) !== 'full') return jobs
    const size = ordinary.reduce((sum, job) => sum + job.size, 0)
    const { freePages, pageSize } = this.#tables
    // Counts blobs twice: a blob may take a page more than its bytes, and each change takes some
    // pages of the tables.
    if (freePages * pageSize - 2 * size >= reserveSize) return jobs
    failAll(ordinary, { stored: false, applied: 'no', error: this.#full() })
    return jobs.filter((job) => job.frees)
  }

  #isReserved(): boolean {
    const { pages, pageSize } = this.#tables
    return pages * pageSize >= reservedSizeMin
  }

  #full(cause?: unknown): TailraceError {
    const message = `no space left in ${this.#directory}: make space, or remove keys and collect, then write again`
    return new TailraceError('ENOSPC', message, { cause })
  }

  async #store(
    group: WriteGroup,
    settles: (() => void | Promise<void>)[],
  ): Promise<Failure | undefined> {
    if (group.writes.list.length === 0 && group.blobs.length === 0) return undefined
    try {
      settles.unshift(await this.#complete(group))
    } catch (error) {
      return { stored: false, applied: 'no', error: toTailraceError(error) }
    }
    if (group.writes.list.length === 0) return undefined
    try {
      await this.#tables.write(group.writes)
      return undefined
    } catch (cause) {
      return this.#diagnose(group.writes.size, cause)
    }
  }

  /** Finds out why a transaction failed. After ENOSPC nothing of it is stored: the pages that it
   *  wrote belong to no table, and the next transaction writes over them. After any other error
   *  this is unknown, and the writer is broken. */
  async #diagnose(size: number, cause: unknown): Promise<Failure> {
    const full = await isFull(this.#directory, size)
    if (full && this.#tables.writable()) {
      return { stored: false, applied: 'no', error: this.#full(cause) }
    }
    const reason = cause instanceof Error ? cause.message : String(cause)
    const message = `a write to ${this.#directory} failed (${reason}): the store is read-only until it is opened again; check the disk first`
    this.#broken = new TailraceError('EIO', message, { cause })
    return { stored: false, applied: 'unknown', error: this.#broken }
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
