/** The runner of jobs: it stores, queues and runs them, and answers all calls of `Jobs`. See
 *  rfc/11.
 *  Invariant: a job that was submitted has a finish in the store, or is in `active`. Nothing
 *  polls. */

import type { Event } from '../api/event.js'
import {
  idVariable,
  type JobEventsOptions,
  type JobOutput,
  type JobOutputOptions,
  type JobPage,
  type Jobs,
  type JobView,
  type ListJobsOptions,
  nestingMax,
  type Pruned,
  type PruneOptions,
  queueMax,
  type RemoveJobOptions,
  runningMaxDefault,
  type Submission,
  startAheadMsMax,
  storeVariable,
} from '../api/job.js'
import { jobsNamespace } from '../api/namespace.js'
import { type Environment, systemEnvironment } from '../base/environment.js'
import type { TerminalSize } from '../base/posix.js'
import { bytesOf } from '../base/shape.js'
import { Wakeup } from '../base/wakeup.js'
import { canceled, TailraceError } from '../error.js'
import { ActiveJob, type JobPorts, killMsDefault } from './active.js'
import { checkJobs, jobEvents, jobOutput } from './calls.js'
import { Delayed } from './delayed.js'
import { feed } from './feed.js'
import { JobIds } from './ids.js'
import type { JobKvs } from './keys.js'
import { parseTerminalSize } from './options.js'
import { heldMaxDefault } from './output.js'
import { PipePool } from './pipes.js'
import { heldMsDefault, isSignal } from './process.js'
import { JobQueue } from './queue.js'
import { listJobs, newestId, readJob, submitOps } from './records.js'
import { lostView, recover } from './recovery.js'
import { Removal } from './removal.js'
import { environmentOf, type ParsedSubmission, parseSubmission, specOf } from './spec.js'
import { exitCodeOf } from './state.js'
import { Surely, storeRetryMsDefault } from './surely.js'

/** The time that a stopping server has to store the finishes of its jobs once they have ended, in
 *  ms. */
const stopStoreMs = 5_000

/** Options of a runner. */
export type JobRunnerOptions = {
  /** A store that may write to the reserved namespace `jobs`. */
  readonly kvs: JobKvs
  readonly environment?: Environment
  /** The number of places for running jobs. Default `runningMaxDefault`. */
  readonly runningMax?: number
  /** The largest part of one job's output that is in memory and not durable, in bytes. Default
   *  `heldMaxDefault`. */
  readonly heldMax?: number
  /** The time that a stream may stay open after its process, in ms. Default `heldMsDefault`. */
  readonly heldMs?: number
  /** The time between SIGTERM and SIGKILL, in ms. Default `killMsDefault`. */
  readonly killMs?: number
  /** The time that a job waits for a store that fails, in ms. Default `storeRetryMsDefault`. */
  readonly storeRetryMs?: number
  /** The source of pipes for jobs. It is closed with the runner. */
  readonly pipes?: PipePool
}

type Queued = { readonly job: ActiveJob; readonly parent: string | undefined }

/** The jobs of a store. Open it with `JobRunner.open`, and dispose it before the store is
 *  closed. */
export class JobRunner implements Jobs, AsyncDisposable {
  /** Wakes when `running` or `waiting` change. */
  readonly changed = new Wakeup()
  readonly #ports: JobPorts
  readonly #ids: JobIds
  readonly #queue: JobQueue<ActiveJob>
  readonly #delayed: Delayed<Queued>
  /** The jobs that have not finished, and those whose finish could not be stored. */
  readonly #live = new Map<string, ActiveJob>()
  /** The jobs that have finished, and whose groups were sent SIGTERM. */
  readonly #leaving = new Set<ActiveJob>()
  /** Promises that must settle before the store is closed. None of them rejects. */
  readonly #open = new Set<Promise<void>>()
  readonly #giveUp: AbortController
  readonly #removal: Removal
  readonly #incarnation: string
  #submitting = 0
  readonly #ended = { succeeded: 0, failed: 0 }
  /** True once no more jobs are taken, while those that were taken may end by themselves. */
  #isDraining = false
  #stopped: Promise<void> | undefined

  /** Ends the jobs that an earlier server left without a finish, then takes jobs. The caller closes
   *  the store, after the runner. Throws EIO and what reads throw. */
  static async open(options: JobRunnerOptions): Promise<JobRunner> {
    const { kvs, environment = systemEnvironment } = options
    const { incarnation } = await kvs.root({ namespace: jobsNamespace })
    await recover(kvs, environment, incarnation)
    return new JobRunner(options, environment, { incarnation, newest: await newestId(kvs) })
  }

  private constructor(
    options: JobRunnerOptions,
    environment: Environment,
    found: { readonly incarnation: string; readonly newest: string | undefined },
  ) {
    this.#incarnation = found.incarnation
    this.#giveUp = new AbortController()
    const { kvs, storeRetryMs = storeRetryMsDefault } = options
    this.#ports = {
      kvs,
      environment,
      surely: new Surely(kvs, environment, storeRetryMs, this.#giveUp.signal),
      pipes: options.pipes ?? new PipePool(),
      heldMax: options.heldMax ?? heldMaxDefault,
      heldMs: options.heldMs ?? heldMsDefault,
      killMs: options.killMs ?? killMsDefault,
    }
    this.#ids = new JobIds(environment, found.newest)
    this.#removal = new Removal({
      kvs,
      environment,
      isOpen: (id) => this.#live.has(id),
      settled: (view) => this.#settled(view),
    })
    this.#removal.kick()
    this.#queue = new JobQueue(options.runningMax ?? runningMaxDefault, (id, job) => {
      this.#track(job.run(), job, () => this.#queue.leave(id))
    })
    this.#delayed = new Delayed(environment, (id, { job, parent }) =>
      this.#queue.add(id, job, parent),
    )
  }

  /** The number of running jobs. */
  get running(): number {
    return this.#queue.running
  }

  /** The number of jobs that wait for a place or for their start time. */
  get waiting(): number {
    return this.#queue.waiting + this.#delayed.size
  }

  /** The numbers of jobs that have ended since the runner was opened: with the exit code 0, and
   *  otherwise. */
  get ended(): { readonly succeeded: number; readonly failed: number } {
    return this.#ended
  }

  /** Returns a job that has not finished, or whose finish could not be stored. Only tests use
   *  it. */
  live(id: string): ActiveJob | undefined {
    return this.#live.get(id)
  }

  async submit(submission: Submission, signal?: AbortSignal): Promise<JobView> {
    checkJobs.submit(signal)
    const parsed = parseSubmission(submission)
    if (signal?.aborted) throw canceled(signal)
    if (this.#stopped || this.#isDraining)
      throw new TailraceError('ECLOSED', 'the server is stopping: submit again later')
    const ahead = (parsed.startAt ?? 0) - this.#ports.environment.now()
    if (ahead > startAheadMsMax) {
      throw new TailraceError('EINVAL', `startAt is at most ${startAheadMsMax} ms ahead`)
    }
    if (this.waiting + this.#submitting >= queueMax) {
      throw new TailraceError('EBUSY', `${queueMax} jobs wait already: submit again later`)
    }
    if (this.#queue.depthOf(parsed.parent) >= nestingMax) {
      throw new TailraceError('EBUSY', `${nestingMax} jobs run in each other already`)
    }
    this.#submitting++
    const stored = this.#store(parsed)
    const settled = stored.then(
      () => {},
      () => {},
    )
    this.#open.add(settled)
    try {
      return await stored
    } finally {
      this.#submitting--
      this.#open.delete(settled)
    }
  }

  async list(options: ListJobsOptions = {}): Promise<JobPage> {
    checkJobs.list(options)
    return listJobs(this.#ports.kvs, options, {
      live: () => [...this.#live.values()].map(({ view }) => view),
      view: (id, stored) => this.#live.get(id)?.view ?? (stored && this.#settled(stored)),
    })
  }

  async show(id: string, signal?: AbortSignal): Promise<JobView> {
    checkJobs.one(id, signal)
    const live = this.#live.get(id)
    if (live) return live.view
    return this.#settled((await readJob(this.#ports.kvs, id)).view)
  }

  output(id: string, options?: JobOutputOptions): AsyncGenerator<JobOutput, void, undefined> {
    return jobOutput(this.#ports.kvs, (...asked) => this.show(...asked), id, options)
  }

  events(id: string, options?: JobEventsOptions): AsyncGenerator<Event, void, undefined> {
    return jobEvents(this.#ports.kvs, (...asked) => this.show(...asked), id, options)
  }

  async wait(id: string, signal?: AbortSignal): Promise<JobView> {
    checkJobs.one(id, signal)
    const job = this.#live.get(id)
    if (!job) return this.show(id)
    while (!job.done) await job.changed.wait(job.changed.count, signal)
    return job.view
  }

  async signal(id: string, name: string): Promise<void> {
    checkJobs.signal(id, name)
    if (!isSignal(name)) {
      throw new TailraceError('EINVAL', `${JSON.stringify(name)} is no signal: SIGTERM, SIGINT, …`)
    }
    const job = await this.#find(id)
    if (this.#queue.remove(id) || this.#delayed.remove(id)) {
      const canceled = job.cancel(name)
      this.#track(canceled, job)
      await canceled
    } else if (!job.signal(name)) {
      throw new TailraceError('ECONFLICT', `the job ${id} has no process any more`)
    }
  }

  async resize(id: string, size: TerminalSize): Promise<void> {
    const parsed = parseTerminalSize(size, 'the size')
    const job = await this.#find(id)
    job.resize(parsed)
  }

  async stdin(id: string, chunks: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<void> {
    checkJobs.stdin(id, chunks, signal)
    const job = await this.#find(id)
    job.takeStdin()
    while (!job.process && !job.done) await job.changed.wait(job.changed.count, signal)
    if (job.process?.stdin) await feed(job.process.stdin, bytesOf(chunks), signal)
  }

  async remove(id: string, options: RemoveJobOptions = {}): Promise<void> {
    checkJobs.remove(id, options)
    const live = this.#live.get(id)
    if (live && !live.done) {
      const message = `the job ${id} is ${live.view.state}: wait for its end, or end it by a signal, then remove it`
      throw new TailraceError('ECONFLICT', message)
    }
    await this.#removal.remove(id, options)
    // The finish of this job could not be stored, so it was still known here.
    if (!options.output) this.#live.delete(id)
  }

  async prune(options: PruneOptions): Promise<Pruned> {
    checkJobs.prune(options)
    return this.#removal.prune(options)
  }

  /** Changes the number of places for running jobs. With fewer places no job is ended. */
  resizeQueue(runningMax: number): void {
    this.#queue.resize(runningMax)
    this.changed.wake()
  }

  /** Applies the retention anew. Call it when the settings of the namespace `jobs` have changed. */
  configured(): void {
    this.#removal.kick()
  }

  /** Takes no more jobs, and resolves when none runs or waits for a place, or the signal aborts. Jobs that
   *  wait for their start time are not waited for. */
  async drain(signal: AbortSignal): Promise<void> {
    this.#isDraining = true
    const isBusy = () => this.#queue.running + this.#queue.waiting + this.#submitting > 0
    while (isBusy() && !signal.aborted) {
      // An abort ends the wait, and is seen by the loop.
      await this.changed.wait(this.changed.count, signal).catch(() => {})
    }
  }

  /** Takes no more jobs, and ends those that wait or run (SIGTERM, after `killMs` SIGKILL).
   *  Resolves when their finishes are durable, or the store was given up. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  /** Sends SIGKILL to the processes of all jobs, for a process that ends without waiting. Nothing
   *  is stored. */
  kill(): void {
    for (const job of [...this.#live.values(), ...this.#leaving]) job.kill()
  }

  async #store(submission: ParsedSubmission): Promise<JobView> {
    const { kvs, environment } = this.#ports
    const id = this.#ids.next()
    const at = environment.now()
    const spec = specOf(submission)
    const { startAt = 0, parent } = submission
    const marks = { [idVariable]: id, [storeVariable]: this.#incarnation }
    const launch = { ...spec, env: { ...environmentOf(submission), ...marks } }
    const job = new ActiveJob(this.#ports, id, spec, launch, at)
    const { view } = job
    // Do this before the commit: a reader that finds the job in the store must find it alive here.
    this.#live.set(id, job)
    try {
      // Commits of one namespace are answered in the order of their calls, so jobs are queued in it
      // too.
      await kvs.commit(
        { ops: submitOps(id, spec, at, this.#incarnation) },
        { namespace: jobsNamespace },
      )
    } catch (error) {
      this.#live.delete(id)
      throw error
    }
    if (this.#stopped) this.#track(job.cancel('SIGTERM', serverStop), job)
    else if (startAt > environment.now()) this.#delayed.add(id, startAt, { job, parent })
    else this.#queue.add(id, job, parent)
    this.changed.wake()
    return view
  }

  /** Waits for the end of a job in the background. Once its finish is stored, the runner forgets
   *  the job. */
  #track(over: Promise<void>, job: ActiveJob, left?: () => void): void {
    const settled = over.then(() => {
      this.#ended[exitCodeOf(job.view) === 0 ? 'succeeded' : 'failed']++
      if (job.stored) this.#live.delete(job.id)
      this.#removal.kick()
      this.#open.delete(settled)
      if (job.groupEnded) this.#awaitGroup(job, job.groupEnded)
      left?.()
      this.changed.wake()
    })
    this.#open.add(settled)
  }

  /** Waits in the background for the end of the processes that a finished job left in its group. */
  #awaitGroup(job: ActiveJob, ended: Promise<void>): void {
    this.#leaving.add(job)
    const settled = ended.then(() => {
      this.#leaving.delete(job)
      this.#open.delete(settled)
    })
    this.#open.add(settled)
  }

  async #stop(): Promise<void> {
    await this.#removal[Symbol.asyncDispose]()
    const delayed = this.#delayed.clear().map(({ job }) => job)
    for (const job of [...this.#queue.clear(), ...delayed]) {
      this.#track(job.cancel('SIGTERM', serverStop), job)
    }
    for (const job of this.#live.values()) job.stop(serverStop)
    for (const job of this.#leaving) job.process?.lookAtGroup()
    const { killMs, heldMs } = this.#ports
    const timer = setTimeout(() => this.#giveUp.abort(), killMs + heldMs + stopStoreMs)
    while (this.#open.size > 0) await Promise.all(this.#open)
    clearTimeout(timer)
    await this.#ports.pipes.close()
  }

  /** Returns a job that has not finished. Throws ENOENT, ECONFLICT (it has finished). */
  async #find(id: string): Promise<ActiveJob> {
    const job = this.#live.get(id)
    if (job && !job.done) return job
    const { state } = await this.show(id)
    throw new TailraceError('ECONFLICT', `the job ${id} is ${state}`)
  }

  /** Returns the view to show for a stored view. A job without a finish that nobody runs is lost,
   *  even while that cannot be stored. REQUIRES: the job is not in `#live`. */
  #settled(view: JobView): JobView {
    if (view.state === 'finished' || view.state === 'lost') return view
    return lostView(view, this.#ports.environment.now())
  }
}

const serverStop = {
  type: 'server-stop',
  message: 'the server was stopped before the job ended',
  severity: 0,
} as const
