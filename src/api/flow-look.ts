/** Looks at a flow, which make nothing: its graph, what a run would do and why, and how far its runs are,
 *  those of other processes too. See rfc/24, rules 21 to 23, and rfc/26. */

import type { ActionDifference } from './cache.js'
import type { FlowRunOptions, FlowStore, RunOrigin } from './flow.js'

/** A target of a graph, as `graphOf` tells it. */
export type GraphTarget = {
  readonly target: string
  /** True for a `map` or `cross`. */
  readonly hasBranches: boolean
  /** The names of the targets that it depends on, each once, in the order of its inputs. */
  readonly inputs: readonly string[]
}

/** The options of `outdated` and `why`. */
export type FlowLookOptions = FlowStore & { readonly signal?: AbortSignal }

/** A target that a run would make. new: it was never made in this flow. changed: it was made of other
 *  parts, see `why`. removed: its result is not in the cache any more. inputs: something that it
 *  depends on would be made. */
export type OutdatedTarget = {
  readonly target: string
  readonly because: 'new' | 'changed' | 'removed' | 'inputs'
}

/** The options of `plan`. */
export type FlowPlanOptions = FlowLookOptions &
  Pick<FlowRunOptions, 'concurrency' | 'limits'> & {
    /** The largest number of workers, 1 to `predictMax`, for which the run is predicted: for each from 1
     *  on. */
    readonly predict?: number
  }

/** The largest number of workers that a run is predicted for. */
export const predictMax = 256

/** A call that a run would make. Times are expected ones, in ms from the begin of the run. */
export type PlannedCall = {
  readonly target: string
  readonly from: number
  readonly to: number
  /** The worker that makes it, from 0 on. */
  readonly worker: number
}

/** The prediction of a run by a number of workers. */
export type WorkersPrediction = {
  readonly workers: number
  readonly makespanMs: number
  /** The time that each worker is busy, in ms. */
  readonly busyMs: readonly number[]
}

/** The plan of a run: all that it would make, with the times that it took when it was made last. */
export type FlowPlan = {
  readonly concurrency: number
  /** The calls, in the order in which they begin. */
  readonly calls: readonly PlannedCall[]
  /** The number of targets whose results are there. */
  readonly found: number
  /** The number of calls that were never made, so that they count as the mean of the others. */
  readonly unknown: number
  /** The expected time of the run, of all its calls, and of its longest path, in ms. */
  readonly makespanMs: number
  readonly workMs: number
  readonly pathMs: number
  /** The longest path: no number of workers makes the run shorter than this. */
  readonly path: readonly { readonly target: string; readonly ms: number }[]
  /** The predictions for 1 worker and more, if they were asked for. */
  readonly predictions?: readonly WorkersPrediction[]
  /** The number of workers above which more make the run shorter by less than a hundredth, if that is
   *  among the predictions. */
  readonly enough?: number
}

/** The state of a run. running: its process lives. ok, failed, canceled: it has ended, so. killed: its
 *  process ended before it did. */
export type RunState = 'running' | 'ok' | 'failed' | 'canceled' | 'killed'

/** The facts of a run that its log tells without being read as a whole. */
export type RunFacts = {
  readonly run: string
  readonly state: RunState
  /** The time of its begin, ms since 1970. */
  readonly at: number
  /** The message of what was thrown, if it failed or was canceled. */
  readonly failed?: string
  readonly origin?: RunOrigin
  /** The run that it goes on with. */
  readonly resumes?: string
  /** The most calls at the same time. */
  readonly concurrency?: number
  /** The amount that there is of each resource that targets need. */
  readonly limits?: { readonly [resource: string]: number }
  /** The hash of its graph, if that is kept. */
  readonly graph?: string
  /** The layer of the cache that has its results. */
  readonly layer?: string
}

/** The state of a target within a run. waiting: it has not begun. running: it was called, or its branches
 *  were. made, found, failed, skipped: it has ended, so. */
export type TargetState = 'waiting' | 'running' | 'made' | 'found' | 'failed' | 'skipped'

/** The numbers of targets by their states. A `map` or `cross` counts as its branches once these are
 *  known. */
export type RunCounts = { readonly [state in TargetState]: number }

/** A target that failed, and the message of what was thrown. */
export type RunFailure = {
  readonly target: string
  readonly message: string
  /** The last lines of its output, if it has printed: of the first 10 failures, and not in `follow`. */
  readonly output?: string
}

/** A target that runs. `since` is the wall clock, ms since 1970. */
export type RunningTarget = { readonly target: string; readonly since: number }

/** A target of the graph of a run. */
export type RunTarget = {
  readonly target: string
  readonly state: TargetState
  /** The places in the graph of the targets that it depends on, all before its own. */
  readonly sources: readonly number[]
}

/** The state of a run at one time, told by its log. */
export type RunStatus = RunFacts & {
  /** The time since its begin, in ms; of one that does not go on, until its last event. */
  readonly ms: number
  readonly counts: RunCounts
  /** The targets that run, the oldest first; a killed run has those that ran then. */
  readonly runs: readonly RunningTarget[]
  /** The first 100 failures. */
  readonly failures: readonly RunFailure[]
  /** The share of the expected work that is done, in percent; undefined if the graph is not kept. */
  readonly percent?: number
  /** The expected time that is left, in ms: that of the longest path, or of all work by the calls at the
   *  same time, if that is more. Undefined if nothing is known of times. */
  readonly leftMs?: number
  /** The longest path of what is left, from its first target on, at most 100 names. */
  readonly path: readonly string[]
  /** The time that was to be expected before the run for what it made, in ms, of one that has ended; with
   *  `ms` it tells how good predictions are. Undefined if nothing was known. */
  readonly predictedMs?: number
  /** The states of the targets of the graph, if that is kept. */
  readonly targets?: readonly RunTarget[]
}

/** The options of `output`. */
export type RunOutputOptions = {
  /** True to go on with new output until the target, or the run, does not go on. */
  readonly follow?: boolean
  /** The number of last lines to begin with. Default: all that is kept. */
  readonly lines?: number
  readonly signal?: AbortSignal
}

/** Some output of a target. */
export type OutputChunk = {
  readonly stream: 'stdout' | 'stderr'
  /** The time at which its first byte came, in seconds since 1970. */
  readonly timestamp: number
  /** The number of bytes of the stream before it. */
  readonly offset: number
  readonly data: Uint8Array
}

/** The options of `cancel`. */
export type CancelRunOptions = {
  /** A text for people that says who asks, at most 256 bytes. */
  readonly by: string
  readonly signal?: AbortSignal
}

/** The runs of a flow, those of other processes too. `runsOf` gives them. Each call may throw EINVAL (an
 *  id that is none), ECANCELED, ETIMEDOUT, and what the store throws. */
export interface FlowRuns {
  /** Returns the ids of the newest runs, newest first; none where the flow never ran. Default of
   *  `limit`: 20. */
  newest(limit?: number): Promise<readonly string[]>
  /** Returns the facts of a run. Throws ENOENT. */
  show(run: string): Promise<RunFacts>
  /** Asks a run to end: what runs is told by its signal and awaited, then `result` rejects with
   *  ECANCELED. Resolves when that is asked, durably. Throws ENOENT, ECONFLICT (it does not go on). */
  cancel(run: string, options: CancelRunOptions): Promise<void>
  /** Returns the state of a run. Throws ENOENT. */
  status(run: string): Promise<RunStatus>
  /** Yields the state of a run, without `targets`, and then each new one as its log grows, until it does
   *  not go on. Who reads slowly gets fewer. Throws ENOENT. */
  follow(
    run: string,
    options?: { readonly signal?: AbortSignal },
  ): AsyncGenerator<RunStatus, void, undefined>
  /** Yields what a target of a run has printed, of at most the last 4 MiB; with `follow` also what it
   *  prints from now on, and if it has not begun, once it does. Throws ENOENT (no such run; without
   *  `follow` also a target that printed nothing). */
  output(
    run: string,
    target: string,
    options?: RunOutputOptions,
  ): AsyncGenerator<OutputChunk, void, undefined>
  /** Removes a run that does not go on: its log and the output of its targets. Results stay. Throws
   *  ENOENT, EBUSY (it goes on, or was killed just now). */
  remove(run: string): Promise<void>
  /** Returns the facts of a run once it does not go on. Throws ENOENT. */
  ended(run: string, options?: { readonly signal?: AbortSignal }): Promise<RunFacts>
}

/** A machine on which targets are called. */
export type CallHost = {
  readonly name: string
  /** The system and the processor, such as `linux x64`. */
  readonly platform: string
  /** The version of Node, such as `v20.20.2`. */
  readonly node: string
}

/** The options of `reopen`. */
export type ReopenOptions = FlowStore & {
  /** The directory to write to: one that is empty, or not there. */
  readonly directory: string
  /** True for the last call that made the result. Default: the last one that failed, if one did. */
  readonly made?: boolean
}

/** Something that a call got. */
export type ReopenedInput = {
  /** Its place among what the function gets, from 0 on, with the name of the target that it comes from. */
  readonly name: string
  /** The path of the file that has it, within the directory. */
  readonly path?: string
  /** The reason why it is not there. */
  readonly missing?: string
}

/** The last call of a target, as `reopen` has written it. */
export type ReopenedCall = {
  readonly target: string
  readonly run: string
  /** The absolute path of the directory. */
  readonly directory: string
  readonly state: 'failed' | 'made'
  /** none: the call had not begun, so that it has an error only. */
  readonly kind: 'function' | 'command' | 'none'
  /** The error of a call that failed. */
  readonly error?: { readonly message: string; readonly code?: string; readonly stack?: string }
  /** The time of the failure, ms since 1970. */
  readonly at?: number
  /** The machine of the run. */
  readonly host?: CallHost
  /** The way in which the run was begun. */
  readonly origin?: RunOrigin
  /** The run that made the target last, if it failed here. */
  readonly lastMade?: string
  /** The name of the file in the directory that has what it printed, if it printed anything. */
  readonly log?: string
  readonly inputs: readonly ReopenedInput[]
  /** The command, with all variables that it gets. */
  readonly command?: {
    readonly run: readonly string[]
    readonly env: { readonly [name: string]: string }
    readonly stdin: boolean
    readonly out?: { readonly [name: string]: string }
    readonly cwd?: string
  }
  /** The hashes of the function and of its module, and the version of the target. */
  readonly code?: {
    readonly function: string
    readonly module: string
    readonly version?: string | number
  }
  /** All that the result depends on, as `why` compares it. */
  readonly action?: unknown
  /** The parts in which it differs from the call that made the target last, if one did. */
  readonly differences?: readonly ActionDifference[]
}

/** A call that is made again. */
export interface CallAgain {
  readonly target: string
  /** The error of the call, if it failed. */
  readonly error?: { readonly message: string }
  /** The parts in which the target differs here from the call: code, packages, plain inputs. */
  readonly differences: readonly ActionDifference[]
  /** Calls the function with what the call was given, and returns what it returns. Throws what it
   *  throws, and ENOENT (an input is missing). */
  call(options?: { readonly signal?: AbortSignal }): Promise<unknown>
}
