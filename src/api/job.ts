/** Jobs: commands that the store's server runs, and whose output and events are keys. The same embedded and over a
 *  server. See rfc/11. A job is keys in the namespace `jobs`: `ID/spec`, `ID/events`, and `ID/output`, an eventlog that is
 *  sealed before the finish event. */

import type { Limits } from '../base/limits.js'
import type { TerminalSize } from '../base/posix.js'
import type { Event } from './event.js'

/** Bytes of one argument, or of one variable with its name, as Linux has it (MAX_ARG_STRLEN, less the NUL). */
export const argSizeMax = 128 * 1024 - 1
/** Bytes of the arguments and variables of one job together, each with a NUL: what Linux takes with a stack of 8 MiB. */
export const argsSizeMax = 2 * 1024 * 1024
/** Bytes of a stored spec; a view is smaller. */
export const specSizeMax = 4 * 1024 * 1024
/** Jobs that run at once; later ones wait in submit order. */
export const runningMaxDefault = 64
/** Jobs that run in each other, each a child of the one before. Above: EBUSY. */
export const nestingMax = 32
/** The environment variable in which a job finds its id: what it submits is its child. */
export const idVariable = 'TAILRACE_JOB'
/** The environment variable that names the store of a job, by the incarnation of its namespace `jobs`: a server that starts
 *  after a crash finds the processes of its own jobs by it. */
export const storeVariable = 'TAILRACE_JOB_STORE'
/** Jobs that wait. Above: EBUSY. */
export const queueMax = 10_000

/** Bytes of a job's name. */
export const jobNameSizeMax = 256
/** The longest time limit, ms: what a timer of the system takes. */
export const timeLimitMsMax = 2 ** 31 - 1
/** A start time lies at most so far ahead, ms. */
export const startAheadMsMax = 366 * 24 * 3_600_000

/** How a job is run. Stored with its spec. */
export type JobOptions = {
  /** Processes left in the process group at the end stay; otherwise they are ended. */
  readonly keepChildren?: boolean
  /** File mode creation mask, 0 to 0o777; without it the server's. */
  readonly umask?: number
  /** Soft limits by the names of prlimit(1); those that are missing are the server's. */
  readonly limits?: Limits
  /** -20 to 19; without it the server's. */
  readonly nice?: number
  /** stdout and stderr are one pipe, so that their order is the program's; all of it is recorded as stdout. */
  readonly merge?: boolean
  /** stdin, stdout and stderr are a terminal of this size, 1 to 65,535 each; all that it shows is recorded as stdout. */
  readonly pty?: TerminalSize
  /** Not before this time, ms since 1970, at most `startAheadMsMax` ahead. A server that stops ends a job that waits. */
  readonly startAt?: number
  /** The job is ended when it has run so long, 1 to `timeLimitMsMax`: SIGTERM, then SIGKILL. */
  readonly timeLimitMs?: number
  /** A name for people: one line of text, at most `jobNameSizeMax` bytes. Many jobs may have the same. */
  readonly name?: string
  /** The id of the job that submits this one. While it runs, it shares its place with one child at a time. */
  readonly parent?: string
}

/** A job to run. The process gets `env`, `set`, `idVariable` and `storeVariable`, nothing else. Only the names
 *  of `env` are stored. */
export type Submission = JobOptions & {
  /** Program and arguments; at least one. */
  readonly command: readonly string[]
  /** Absolute. */
  readonly cwd: string
  /** The caller's environment, such as `process.env`: a variable that is undefined is left out. Never stored but for
   *  the names. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Added to `env`, and stored. */
  readonly set?: Readonly<Record<string, string>>
  /** `stdin()` will be called; otherwise the process reads an empty stdin. */
  readonly stdin?: boolean
}

/** What is stored of a submission, at `ID/spec`. */
export type Spec = JobOptions & {
  readonly version: 1
  /** Program and arguments. */
  readonly command: readonly string[]
  readonly cwd: string
  /** Names of the variables that the process got; their values are not stored. */
  readonly envNames: readonly string[]
  /** Variables that are stored with their values. */
  readonly set: Readonly<Record<string, string>>
  /** Its input is handed over by `stdin()`. */
  readonly stdin: boolean
}

/** State of a job. submitted: it waits for a place, or for its start time. lost: the server ended while the job ran. */
export type JobState = 'submitted' | 'running' | 'finished' | 'lost'

/** What is known of a job, as its events say. Times are ms since 1970. */
export type JobView = {
  readonly id: string
  readonly state: JobState
  readonly name?: string
  readonly command: readonly string[]
  readonly cwd: string
  readonly submitted: number
  /** Absent until it runs. */
  readonly started?: number
  /** Absent until it has ended. */
  readonly finished?: number
  /** Of its process, once it runs. */
  readonly pid?: number
  /** Exit status; 127 where the command was not found, 126 where it could not be run. */
  readonly status?: number
  /** The signal that ended it, `SIGTERM`. `status` is then absent. */
  readonly signal?: string
  /** Why it did not run to its end (command not found, server stopped). */
  readonly exception?: { readonly type: string; readonly message: string }
}

/** Jobs that one call of `list` or `prune` looks at. */
export const jobsPageMax = 1_000

/** What a list looks for: a state, or `failed`, which is lost or ended with another exit code than 0. */
export const jobFilters = ['submitted', 'running', 'finished', 'lost', 'failed'] as const
/** One of `jobFilters`. */
export type JobFilter = (typeof jobFilters)[number]

/** Which jobs are listed. */
export type ListJobsOptions = {
  /** Go on after the job with this id. */
  readonly after?: string
  /** 1 to `jobsPageMax` jobs; default 100. */
  readonly limit?: number
  /** Only jobs that are one of these. Not empty. */
  readonly states?: readonly JobFilter[]
  /** Only jobs of that name. */
  readonly name?: string
  readonly signal?: AbortSignal
}

/** A page of jobs. */
export type JobPage = {
  readonly jobs: readonly JobView[]
  /** There may be more: ask again `after` the `next`. */
  readonly more: boolean
  /** The last job that was looked at; absent where there is no more. */
  readonly next?: string
  /** Jobs in the store, whatever was asked for. */
  readonly total: number
  /** Bytes of all jobs in the store. */
  readonly size: number
}

/** Which jobs are removed. */
export type PruneOptions = {
  /** Jobs that finished at least so long ago, ms. */
  readonly olderThanMs: number
  /** Only says which they are. */
  readonly dryRun?: boolean
  /** Only jobs submitted after this one. */
  readonly after?: string
  readonly signal?: AbortSignal
}

/** What a prune removed. */
export type Pruned = {
  /** Oldest first. */
  readonly jobs: readonly JobView[]
  /** There may be more: ask again `after` this id. */
  readonly next?: string
}

/** What is removed of a job. */
export type RemoveJobOptions = {
  /** Removes the output alone. */
  readonly output?: boolean
  readonly signal?: AbortSignal
}

/** How events of a job are read. */
export type JobEventsOptions = {
  /** Go on until the job has finished. */
  readonly follow?: boolean
  readonly signal?: AbortSignal
}

/** The code that a shell would give: the status, 128 + the signal's number, 1 where the job was lost. */
export type ExitCode = number

/** Which output of a job is read, and from where. */
export type JobOutputOptions = {
  /** Only this stream. Otherwise both, in the order in which the server read them. */
  readonly stream?: 'stdout' | 'stderr'
  /** With `stream`: the byte to begin with; below 0: so many from the end. Default: the first that is there. */
  readonly from?: number
  /** Begin with what was written then or later, ms since 1970. */
  readonly since?: number
  /** Begin with the last so many lines. */
  readonly tail?: number
  /** Go on until the job's output has ended. Otherwise until all that is there was read. */
  readonly follow?: boolean
  readonly signal?: AbortSignal
}

/** A piece of output. */
export type JobOutput = {
  readonly stream: 'stdout' | 'stderr'
  /** When its first byte came, ms since 1970. */
  readonly time: number
  /** Of its first byte in the stream. */
  readonly offset: number
  readonly data: Uint8Array
}

/** Commands that the store runs. */
export interface Jobs {
  /** Stores a job, which runs as soon as there is a place for it. Ids sort by the time of submit. Throws E2BIG, EBUSY
   *  (`queueMax`, `nestingMax`), ECLOSED (the server stops).
   *
   *      const { id } = await store.jobs.submit({ command: ['make', 'test'], cwd: '/src', env: process.env })
   *      const { status } = await store.jobs.wait(id)
   */
  submit(submission: Submission, signal?: AbortSignal): Promise<JobView>
  /** A page of jobs, newest first. One call looks at `jobsPageMax` jobs at most, whatever it looks for. */
  list(options?: ListJobsOptions): Promise<JobPage>
  /** What is known of a job. Throws ENOENT. */
  show(id: string, signal?: AbortSignal): Promise<JobView>
  /** Waits until the job has finished, or is lost. Throws ENOENT. */
  wait(id: string, signal?: AbortSignal): Promise<JobView>
  /** Sends a signal, such as `SIGTERM`, to the job's process group. A job that waits is ended by it. Throws ENOENT,
   *  ECONFLICT (it has finished). */
  signal(id: string, name: string): Promise<void>
  /** Gives the job's terminal another size. Throws ENOENT, EINVAL, ECONFLICT (it has none, or has finished). */
  resize(id: string, size: TerminalSize): Promise<void>
  /** Hands bytes to the stdin of a job that was submitted with `stdin`, at the pace at which its process reads; the end of
   *  the stream is the end of file. Resolves when all was written, or the process reads no more. Throws ENOENT, ECONFLICT
   *  (it takes none, or somebody hands it over already). */
  stdin(id: string, chunks: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<void>
  /** Removes a job that has ended, out of the history and the pins of the namespace `jobs` too; a collection frees its
   *  bytes. Throws ENOENT, ECONFLICT (it waits or runs). */
  remove(id: string, options?: RemoveJobOptions): Promise<void>
  /** Removes jobs that finished long ago, at most `jobsPageMax` in one call: ask again while there is a `next`. */
  prune(options: PruneOptions): Promise<Pruned>
  /** What a job wrote, out of the store. Leaving the loop ends it. Throws ENOENT, EINVAL (of `from`, `since` and `tail`
   *  only one; `from` without `stream`), ECOMPACTED (its output was removed up to there).
   *
   *      for await (const { data } of store.jobs.output(id, { stream: 'stdout', follow: true })) {
   *        process.stdout.write(data)
   *      }
   */
  output(id: string, options?: JobOutputOptions): AsyncGenerator<JobOutput, void, undefined>
  /** The events of a job's life, `submit`, `start`, `finish` and others (rfc/11); with `follow` until it has finished.
   *  Throws ENOENT. */
  events(id: string, options?: JobEventsOptions): AsyncGenerator<Event, void, undefined>
}
