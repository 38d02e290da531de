/** Jobs as their users see them: one interface, the same in the server (`job/runner.ts`) and over
 *  HTTP (`client/`). See rfc/11.
 *  A job is keys in the namespace `jobs`: `ID/spec`, `ID/events`, `ID/output` (an eventlog in the
 *  manner of RFC 24, see eventlog/stdio.ts, sealed at the end before the finish event). */

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
/** The variable in which a job finds its id: what it submits is its child. */
export const idVariable = 'TAILRACE_JOB'
/** The variable that tells a job of this store from one of another, for who looks for what a crash left: the incarnation of
 *  the namespace `jobs`. */
export const storeVariable = 'TAILRACE_JOB_STORE'
/** Jobs that wait. Above: EBUSY. */
export const queueMax = 10_000

/** Bytes of a job's name. */
export const jobNameSizeMax = 256
/** The longest time limit: what a timer of the system takes. */
export const timeLimitMsMax = 2 ** 31 - 1
/** A start time lies at most so far ahead. */
export const startAheadMsMax = 366 * 24 * 3_600_000

/** How to run it; each may be missing. Stored with the spec. */
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
  /** For people: one line of text, at most `jobNameSizeMax` bytes. Many jobs may have the same. */
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
  /** The caller's environment. Never stored but for the names. */
  readonly env: Readonly<Record<string, string>>
  /** Added to `env`, and stored. */
  readonly set?: Readonly<Record<string, string>>
  /** `stdin()` will be called; otherwise the process reads an empty stdin. */
  readonly stdin?: boolean
}

/** A stored spec. */
export type Spec = JobOptions & {
  readonly version: 1
  readonly command: readonly string[]
  readonly cwd: string
  readonly envNames: readonly string[]
  readonly set: Readonly<Record<string, string>>
  readonly stdin: boolean
}

/** submitted: waits for a place. lost: the server ended while the job ran. */
export type JobState = 'submitted' | 'running' | 'finished' | 'lost'

/** A fold over the job's events. Times are ms since 1970. */
export type JobView = {
  readonly id: string
  readonly state: JobState
  readonly name?: string
  readonly command: readonly string[]
  readonly cwd: string
  readonly submitted: number
  readonly started?: number
  readonly finished?: number
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

/** Jobs that a list looks for: by state, or `failed`: lost, or ended with another exit code than 0. */
export const jobFilters = ['submitted', 'running', 'finished', 'lost', 'failed'] as const
export type JobFilter = (typeof jobFilters)[number]

export type ListJobsOptions = {
  /** The id to go on from. */
  readonly after?: string
  /** At most so many, and 1,000 (default 100). */
  readonly limit?: number
  /** Only jobs of one of these; not empty. */
  readonly states?: readonly JobFilter[]
  /** Only jobs of that name. */
  readonly name?: string
  readonly signal?: AbortSignal
}

export type JobPage = {
  readonly jobs: readonly JobView[]
  /** There may be more: ask again `after` the `next`. */
  readonly more: boolean
  /** The last job that was looked at; absent where there is no more. */
  readonly next?: string
  /** Jobs in the store, whatever was asked for, and the bytes of all of them. */
  readonly total: number
  readonly size: number
}

export type PruneOptions = {
  /** Jobs that finished at least so long ago. */
  readonly olderThanMs: number
  /** Only says which they are. */
  readonly dryRun?: boolean
  /** Only jobs submitted after this one. */
  readonly after?: string
  readonly signal?: AbortSignal
}

/** `jobs` went, oldest id first; `next` is the id to go on after, where there may be more. */
export type Pruned = { readonly jobs: readonly JobView[]; readonly next?: string }

/** The code a shell would give: the status, 128 + the signal's number, 1 where the job was lost. */
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

export interface Jobs {
  /** The job is stored when it resolves. Ids sort by time of submit. Throws EINVAL, E2BIG, EBUSY. */
  submit(submission: Submission, signal?: AbortSignal): Promise<JobView>
  /** Newest first. One call looks at 1,000 jobs at most, whatever it looks for. Throws EINVAL. */
  list(options?: ListJobsOptions): Promise<JobPage>
  /** Throws ENOENT. */
  show(id: string, signal?: AbortSignal): Promise<JobView>
  /** Resolves when the job has finished (or is lost). Throws ENOENT. */
  wait(id: string, signal?: AbortSignal): Promise<JobView>
  /** To the job's process group: `SIGINT`, `SIGTERM`, … A waiting job is finished by it. Throws ENOENT,
   *  EINVAL, ECONFLICT (finished already). */
  signal(id: string, name: string): Promise<void>
  /** Gives the job's terminal another size. Throws ENOENT, EINVAL, ECONFLICT (it has none, or has finished). */
  resize(id: string, size: TerminalSize): Promise<void>
  /** Hands bytes to the process's stdin at the pace it reads; its end is the end of file. Resolves
   *  when all was written or the process reads no more. Throws ENOENT, ECONFLICT. */
  stdin(id: string, chunks: AsyncIterable<Uint8Array>, signal?: AbortSignal): Promise<void>
  /** A finished or lost job goes, out of the past and the pins of the namespace `jobs` too; a collection frees its
   *  bytes. With `output` its output alone goes. Throws ENOENT, ECONFLICT (it waits or runs). */
  remove(
    id: string,
    options?: { readonly output?: boolean; readonly signal?: AbortSignal },
  ): Promise<void>
  /** Removes jobs that finished long ago, a page of at most 1,000: ask again while there is a `next`.
   *  Throws EINVAL. */
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
  events(
    id: string,
    options?: { readonly follow?: boolean; readonly signal?: AbortSignal },
  ): AsyncGenerator<Event, void, undefined>
}
