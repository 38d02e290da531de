/** One transaction at a time: while one is on its way to disk, the next gathers. See rfc/4.
 *  Invariant: jobs are planned in the order they came, on the state that all earlier transactions
 *  left; a job is answered only when its transaction is durable or has failed. */

import { deferred } from '../base/deferred.js'
import type { Blob } from '../blob/blob.js'
import { TailraceError, toTailraceError } from '../error.js'
import { isFull } from './disk.js'
import { Reserve, reservedSizeMin, reserveSize } from './reserve.js'
import type { SweepPlan } from './sweep.js'
import { type Tables, Writes } from './tables.js'

/** Jobs that may wait; above it EBUSY at once. */
export const jobsMax = 65_536
/** Bytes of blobs that one transaction gathers, but for a job that is larger alone. */
export const groupSizeMax = 32 * 1024 * 1024

/** What the jobs of one transaction add to. */
export type WriteGroup = {
  readonly writes: Writes
  readonly blobs: Blob[]
  readonly sweeps: SweepPlan[]
}

export type Job<T> = {
  /** The namespaces that it changes: two jobs of one group share none. */
  readonly names: readonly string[]
  readonly blobs: readonly Blob[]
  /** Adds to the group and gives what to do, and answer, once that is durable. Throws before it has
   *  added anything, and then fails alone. */
  readonly plan: (group: WriteGroup) => () => T
  /** It frees more than it takes: it may have what is reserved on the disk. It is planned again
   *  then. */
  readonly frees?: boolean
}

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

export type WriterOptions = {
  readonly tables: Tables
  readonly directory: string
  /** Adds what rides along with every transaction, and gives what to do before any job is answered.
   *  Both may give way: no other transaction begins meanwhile. */
  readonly complete: (group: WriteGroup) => Promise<() => Promise<void>>
}

export class Writer {
  readonly #tables: Tables
  readonly #directory: string
  readonly #complete: (group: WriteGroup) => Promise<() => Promise<void>>
  readonly #reserve: Reserve
  /** Only `submit` adds to it, only `#take` removes. */
  #queue: Waiting[] = []
  #running: Promise<void> | undefined
  /** Set by the first failure that was not a full disk, never cleared: what the disk then holds is
   *  not known, and a later sync that succeeds would not prove it. */
  #broken: TailraceError | undefined

  constructor(options: WriterOptions) {
    this.#tables = options.tables
    this.#directory = options.directory
    this.#complete = options.complete
    this.#reserve = new Reserve(options.directory)
  }

  /** Why nothing can be written any more. */
  get broken(): TailraceError | undefined {
    return this.#broken
  }

  /** Resolves when the job's transaction has ended. Rejects with what its plan threw, and EBUSY. */
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

  /** One transaction outside of the queue. REQUIRES: drained, nothing submitted meanwhile. */
  async write(writes: Writes): Promise<void> {
    if (this.#broken) throw this.#broken
    try {
      await this.#tables.write(writes)
    } catch (cause) {
      throw (await this.#diagnose(writes.size, cause)).error
    }
  }

  async #run(): Promise<void> {
    // Whoever commits in the same turn shares the transaction. No wait for the next turn of the
    // event loop: under a flood of output one takes milliseconds, in which the disk would do
    // nothing.
    await Promise.resolve()
    while (this.#queue.length > 0) await this.#commit(this.#take())
    this.#running = undefined // no await since the queue was seen empty
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

  /** Refuses what would take the space that is left to the jobs that free some, and gives the
   *  others. */
  async #admit(jobs: readonly Waiting[]): Promise<readonly Waiting[]> {
    if (this.#reserve.isWhole || !this.#isReserved()) return jobs
    const ordinary = jobs.filter((job) => !job.frees)
    if (ordinary.length === 0 || (await this.#reserve.make()) !== 'full') return jobs
    const size = ordinary.reduce((sum, job) => sum + job.size, 0)
    const { freePages, pageSize } = this.#tables
    // A blob may take a page more than it has bytes, and each change some pages of the tables.
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

  /** After ENOSPC nothing of the transaction is there: the pages it wrote belong to nobody, and the
   *  next transaction writes over them. After anything else nobody knows. */
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

/** What a job gave. Throws why it was not stored. */
export function stored<T>(answer: WriteOutcome<T>): T {
  if (answer.stored) return answer.value
  throw answer.error
}
