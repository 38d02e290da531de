/** Jobs: commands that the store runs, embedded or in its server. See rfc/11. A job has these keys
 *  in the namespace `jobs`: `ID/spec`, `ID/events`, and `ID/output`, an eventlog that is sealed
 *  before the finish event. */

import type { Limits } from '../base/limits.js'
import type { TerminalSize } from '../base/posix.js'
import type { Event } from './event.js'

/** The largest size of one argument, or of one variable with its name, in bytes. It is the bound of
 *  Linux (MAX_ARG_STRLEN, less the NUL). */
export const argSizeMax = 128 * 1024 - 1
/** The largest size of all arguments and variables of a job together, each with a NUL, in bytes. It
 *  is the bound of Linux with a stack of 8 MiB. */
export const argsSizeMax = 2 * 1024 * 1024
/** The largest size of a stored spec, in bytes. */
export const specSizeMax = 4 * 1024 * 1024
/** The default number of jobs that run at once. Later ones wait in the order of their
 *  submission. */
export const runningMaxDefault = 64
/** The largest depth of running jobs of which each is a child of the one before; above it EBUSY. */
export const nestingMax = 32
/** The environment variable in which a job's process finds the id of its job. The jobs that it
 *  submits are children of that job. */
export const idVariable = 'TAILRACE_JOB'
/** The environment variable that names the store of a job, by the incarnation of its namespace
 *  `jobs`. A server that starts after a crash finds the processes of its jobs by it. */
export const storeVariable = 'TAILRACE_JOB_STORE'
/** The largest number of jobs that wait; above it EBUSY. */
export const queueMax = 10_000

/** The largest size of a job's name, in bytes. */
export const jobNameSizeMax = 256
/** The longest time limit, in ms, which a timer of the system can wait. */
export const timeLimitMsMax = 2 ** 31 - 1
/** The longest time, in ms, from the submission to the start time. */
export const startAheadMsMax = 366 * 24 * 3_600_000

/** The options of a run, which are stored with the job's spec. */
export type JobOptions = {
  /** True to keep the processes that are left in the process group when the job ends. Otherwise
   *  they are ended. */
  readonly keepChildren?: boolean
  /** The file mode creation mask, 0 to 0o777. Default: the server's. */
  readonly umask?: number
  /** Soft limits by the names of prlimit(1). Default of each: the server's. */
  readonly limits?: Limits
  /** The niceness, -20 to 19. Default: the server's. */
  readonly nice?: number
  /** True to give the process one pipe for stdout and stderr, so that their order is kept. All of
   *  it is recorded as stdout. */
  readonly merge?: boolean
  /** The size of a terminal, 1 to 65,535 each, that the process gets as stdin, stdout and stderr.
   *  All that it shows is recorded as stdout. */
  readonly pty?: TerminalSize
  /** The earliest time of the start, ms since 1970, at most `startAheadMsMax` ahead. A server that
   *  stops ends a job that waits. */
  readonly startAt?: number
  /** The longest run, in ms, 1 to `timeLimitMsMax`. The job then gets SIGTERM, and later
   *  SIGKILL. */
  readonly timeLimitMs?: number
  /** A name for people: one line of text of at most `jobNameSizeMax` bytes. Many jobs may
   *  have the same name. */
  readonly name?: string
  /** The id of the job that submits this one. While the parent runs, it shares its place with one
   *  child at a time. */
  readonly parent?: string
}

/** A job to run. Its process gets the variables of `env` and `set`, `idVariable` and
 *  `storeVariable`, and no others. */
export type Submission = JobOptions & {
  /** The program and its arguments; at least one. */
  readonly command: readonly string[]
  /** The directory to run in, an absolute path. */
  readonly cwd: string
  /** The caller's environment, such as `process.env`. A variable that is undefined is left out.
   *  Only the names of the variables are stored. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Variables to add to `env`, which are stored with their values. */
  readonly set?: Readonly<Record<string, string>>
  /** True if `stdin()` will be called. Otherwise the process reads an empty stdin. */
  readonly stdin?: boolean
}

/** The stored part of a submission, at `ID/spec`. */
export type Spec = JobOptions & {
  readonly version: 1
  /** The program and its arguments. */
  readonly command: readonly string[]
  readonly cwd: string
  /** The names of the variables that the process gets; their values are not stored. */
  readonly envNames: readonly string[]
  /** The variables that are stored with their values. */
  readonly set: Readonly<Record<string, string>>
  /** True if `stdin()` hands over its input. */
  readonly stdin: boolean
}

/** The state of a job. submitted: it waits for a place, or for its start time. lost: the server
 *  ended while the job ran. */
export type JobState = 'submitted' | 'running' | 'finished' | 'lost'

/** A job as its events describe it. Times are ms since 1970. */
export type JobView = {
  readonly id: string
  readonly state: JobState
  readonly name?: string
  readonly command: readonly string[]
  readonly cwd: string
  /** The time of its submission. */
  readonly submitted: number
  /** The time of its start; absent until it runs. */
  readonly started?: number
  /** The time of its end; absent until it has ended. */
  readonly finished?: number
  /** The id of its process; absent until it runs. */
  readonly pid?: number
  /** The exit status; 127 where the command was not found, 126 where it could not be run. */
  readonly status?: number
  /** The signal that ended it, such as `SIGTERM`. `status` is then absent. */
  readonly signal?: string
  /** The reason for which it did not run to its end, such as a command that was not found. */
  readonly exception?: { readonly type: string; readonly message: string }
}

/** The largest number of jobs that one call of `list` or `prune` looks at. */
export const jobsPageMax = 1_000

/** The filters of a list: a state, or `failed`, which is lost or ended with another
 *  exit code than 0. */
export const jobFilters = ['submitted', 'running', 'finished', 'lost', 'failed'] as const
/** A filter of a list. */
export type JobFilter = (typeof jobFilters)[number]

/** The options of `list`. */
export type ListJobsOptions = {
  /** The id of the job after which the page begins. */
  readonly after?: string
  /** The number of jobs on the page, 1 to `jobsPageMax`; default 100. */
  readonly limit?: number
  /** Selects jobs that match one of these. Not empty. */
  readonly states?: readonly JobFilter[]
  /** Selects jobs of this name. */
  readonly name?: string
  readonly signal?: AbortSignal
}

/** A page of jobs. */
export type JobPage = {
  readonly jobs: readonly JobView[]
  /** True if there may be more: ask again `after` the `next`. */
  readonly more: boolean
  /** The id of the last job that was looked at; absent where there are no more. */
  readonly next?: string
  /** The number of all jobs in the store. */
  readonly total: number
  /** The bytes of all jobs in the store. */
  readonly size: number
}

/** The options of `prune`. */
export type PruneOptions = {
  /** The least time, in ms, since a job finished. */
  readonly olderThanMs: number
  /** True to remove nothing, and only list the jobs. */
  readonly dryRun?: boolean
  /** Selects jobs that were submitted after the job with this id. */
  readonly after?: string
  readonly signal?: AbortSignal
}

/** The result of `prune`. */
export type Pruned = {
  /** The removed jobs (with `dryRun`: those that would be removed), oldest first. */
  readonly jobs: readonly JobView[]
  /** The id to ask again `after`; absent where there are no more. */
  readonly next?: string
}

/** The options of `remove`. */
export type RemoveJobOptions = {
  /** True to remove only the output. */
  readonly output?: boolean
  readonly signal?: AbortSignal
}

/** The options of `events`. */
export type JobEventsOptions = {
  /** True to go on until the job has finished. */
  readonly follow?: boolean
  readonly signal?: AbortSignal
}

/** The exit code that a shell would give: the status, or 128 + the signal's number, or 1 where
 *  the job was lost. */
export type ExitCode = number

/** The options of `output`. At most one of `from`, `since` and `tail` says where to begin. */
export type JobOutputOptions = {
  /** Selects one stream. Otherwise both are read, in the order in which the server read them. */
  readonly stream?: 'stdout' | 'stderr'
  /** The byte of `stream` to begin with; a negative number counts from the end. Default: the first
   *  byte that is there. */
  readonly from?: number
  /** The time from which on output is read, ms since 1970. */
  readonly since?: number
  /** The number of last lines to begin with. */
  readonly tail?: number
  /** True to go on until the job's output has ended. Otherwise it ends when all that is
   *  there was read. */
  readonly follow?: boolean
  readonly signal?: AbortSignal
}

/** A piece of output. */
export type JobOutput = {
  readonly stream: 'stdout' | 'stderr'
  /** The time at which its first byte came, ms since 1970. */
  readonly time: number
  /** The offset of its first byte in the stream. */
  readonly offset: number
  readonly data: Uint8Array
}

/** The calls on jobs. */
export interface Jobs {
  /** Stores a job, which runs as soon as there is a place for it. Ids sort by the time of
   *  submission. Throws E2BIG, EBUSY (`queueMax`, `nestingMax`), ECLOSED (the server stops).
   *
   *      const job = { command: ['make', 'test'], cwd: '/src', env: process.env }
   *      const { id } = await store.jobs.submit(job)
   *      const { status } = await store.jobs.wait(id)
   */
  submit(submission: Submission, signal?: AbortSignal): Promise<JobView>
  /** Returns a page of jobs, newest first. One call looks at no more than `jobsPageMax` jobs, even
   *  if few of them match. */
  list(options?: ListJobsOptions): Promise<JobPage>
  /** Describes a job. Throws ENOENT. */
  show(id: string, signal?: AbortSignal): Promise<JobView>
  /** Waits until a job has finished or is lost, and describes it. Throws ENOENT. */
  wait(id: string, signal?: AbortSignal): Promise<JobView>
  /** Sends a signal, such as `SIGTERM`, to a job's process group. A job that waits is ended by it.
   *  Throws ENOENT, ECONFLICT (the job has finished). */
  signal(id: string, name: string): Promise<void>
  /** Changes the size of a job's terminal. Throws ENOENT, EINVAL, ECONFLICT (the job has none, or
   *  has finished). */
  resize(id: string, size: TerminalSize): Promise<void>
  /** Writes bytes to the stdin of a job that was submitted with `stdin`, at the pace at which its
   *  process reads. The end of the stream is the end of file. Resolves when all was written, or
   *  the process reads no more. Throws ENOENT, ECONFLICT (the job takes no stdin, or somebody
   *  writes to it already). */
  stdin(id: string, chunks: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<void>
  /** Removes a job that has ended, also from the history and the pins of the namespace `jobs`. A
   *  later collection frees its bytes. Throws ENOENT, ECONFLICT (the job waits or runs). */
  remove(id: string, options?: RemoveJobOptions): Promise<void>
  /** Removes jobs that finished long ago, at most `jobsPageMax` in one call: ask again while
   *  there is a `next`. */
  prune(options: PruneOptions): Promise<Pruned>
  /** Reads the output of a job from the store. Leaving the loop ends it. Throws ENOENT, EINVAL
   *  (more than one of `from`, `since` and `tail`; `from` without `stream`), ECOMPACTED (the output
   *  up to there was removed).
   *
   *      for await (const { data } of store.jobs.output(id, { stream: 'stdout', follow: true })) {
   *        process.stdout.write(data)
   *      }
   */
  output(id: string, options?: JobOutputOptions): AsyncGenerator<JobOutput, void, undefined>
  /** Reads the events of a job, `submit`, `start`, `finish` and others (rfc/11). With `follow` it
   *  goes on until the job has finished. Throws ENOENT. */
  events(id: string, options?: JobEventsOptions): AsyncGenerator<Event, void, undefined>
}
