/** Flows: targets, which are made of other targets, the runs that make them, and the workers that call
 *  their functions. See rfc/24 and rfc/25. */

import type { Store } from './store.js'
import type { Packed, PackedValues } from './value.js'

/** The largest number of targets of a run, branches included. */
export const targetsMax = 1_000_000
/** The largest size of a target's name, in bytes. */
export const targetNameSizeMax = 128
/** The largest number of inputs of a target. More stand in an array, which is one input. */
export const inputsMax = 10_000
/** The deepest nesting of arrays and objects in the inputs of a target. */
export const inputDepthMax = 16
/** The largest number of calls of a target after the first one. */
export const retriesMax = 1_000
/** The wait before the second call of a target that names none, in ms. */
export const retryDelayDefault = 1_000
/** The longest wait before a call of a target, in ms. */
export const retryDelayMax = 300_000

/** Marks the type of a target's result. It stands in types only. */
declare const resultType: unique symbol

/** Something to make: a name, inputs, and a function of them. `target`, `map` and `cross` make it.
 *  It is a description: nothing runs before `run`. */
export interface Target<out T> {
  readonly type: 'target'
  readonly name: string
  // A function, since the type of an optional field would lose its undefined.
  readonly [resultType]?: () => T
}

/** An input whose function gets the result packed, and has it until it ends. `packed` makes it. */
export interface PackedInput<out T> {
  readonly type: 'packed'
  readonly target: Target<T>
}

/** Marks the type of a file as an input. It stands in types only. */
declare const fileType: unique symbol

/** A file, or a directory, whose content counts: its function gets its path, an absolute one; that of a
 *  directory ends with `/`. `file` and `directory` make it. */
export interface FileInput {
  readonly type: 'file'
  /** The path as it was given; that of a directory ends with `/`. */
  readonly path: string
  readonly [fileType]: true
}

/** An input of a target: another target, whose result the function gets; a file, whose path it gets; a
 *  plain value as an action of the cache has (rfc/22, rule 2); or an array or an object of inputs. */
export type FlowInput =
  | Target<unknown>
  | PackedInput<unknown>
  | FileInput
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | readonly FlowInput[]
  | { readonly [name: string]: FlowInput | undefined }

/** The value that a function gets for an input; unknown where the input may be any. */
export type InputValue<I> = [FlowInput] extends [I]
  ? unknown
  : I extends Target<infer T>
    ? T
    : I extends PackedInput<infer T>
      ? Packed<T>
      : I extends FileInput
        ? string
        : I extends null | undefined | boolean | number | bigint | string | Uint8Array
          ? I
          : { -readonly [K in keyof I]: InputValue<I[K]> }

/** The parameters of a function of these inputs. */
export type InputValues<I extends readonly unknown[]> = {
  -readonly [K in keyof I]: InputValue<I[K]>
}

/** The inputs of `map`: the array that it goes through, and what each call gets besides. */
export type MapInputs = readonly [Target<readonly unknown[]>, ...FlowInput[]]
/** The parameters of the function of a `map`: an element, then the other inputs. */
export type MapValues<I extends MapInputs> = I extends readonly [
  Target<readonly (infer E)[]>,
  ...infer R extends readonly unknown[],
]
  ? [element: E, ...others: InputValues<R>]
  : never

/** The inputs of `cross`: the arrays whose combinations it goes through. */
export type CrossInputs = readonly [
  Target<readonly unknown[]>,
  ...(readonly Target<readonly unknown[]>[]),
]
/** The parameters of the function of a `cross`: an element of each array. */
export type CrossValues<I extends CrossInputs> = {
  -readonly [K in keyof I]: I[K] extends Target<readonly (infer E)[]> ? E : never
}

/** The answer to a target that fails. stop: begin nothing more. continue: go on with what does not depend
 *  on it; `result` rejects in the end. null: its result is null, and what depends on it is made with
 *  that. trim: leave a branch out of the array of its `map` or `cross`; leave another target out, and
 *  what depends on it. */
export type FailureMode = 'stop' | 'continue' | 'null' | 'trim'

/** null where a target, or all of a run, may fail in the mode `null`. */
export type NullIn<M> = 'null' extends M ? null : never

/** The options of a target. `M` is the type of `onError`. */
export type TargetOptions<M extends FailureMode = FailureMode> = {
  /** A part of the target's key: change it to make the target anew where nothing else shows that it
   *  has to be. */
  readonly version?: string | number
  /** The amount of each limited resource that a call takes while it runs, by name: whole numbers; see
   *  `FlowRunOptions.limits`. */
  readonly needs?: { readonly [resource: string]: number }
  /** The label of the workers that may call it, such as `gpu`: 1 to 63 of A-Z, a-z, 0-9, "_",
   *  "." and "-". A run whose workers can have none of that label refuses it (EINVAL); where one may join,
   *  the target waits for it, and the event `wait` tells so. Default: all workers may. */
  readonly label?: string
  /** The longest time of a call, in ms, 1 to 2^31 - 1. One that lasts longer fails with ETIMEDOUT, of
   *  which the signal of `targetSignal` tells it. Default: no bound. */
  readonly timeoutMs?: number
  /** The number of calls after the first one, as long as all fail: 0 to `retriesMax`. Default: that of
   *  the run. */
  readonly retries?: number
  /** The wait before the second call, in ms, at most `retryDelayMax`. It doubles with each further one,
   *  up to `retryDelayMax`, and is shortened by up to a half, at random. Default:
   *  `retryDelayDefault`. */
  readonly retryDelayMs?: number
  /** The answer if it fails, of a `map` or `cross` if a branch does: only these take `trim`, and where
   *  they fail themselves, the run's `onError` counts. Default: that of the run. */
  readonly onError?: M
}

/** An input of a command: the result of a target, a file, or a content. Text is UTF-8. */
export type CommandInput = Target<Uint8Array | string> | FileInput | Uint8Array | string

/** The files that a command makes, by the names of its results: paths within its directory. */
export type CommandOutputs = { readonly [name: string]: string }

/** A command. Paths are relative, with `/`, and lead into its directory. */
export type CommandSpec<O extends CommandOutputs | undefined = CommandOutputs | undefined> = {
  /** The program and its arguments. No shell reads them: give `['sh', '-c', '…']` to have one. */
  readonly run: readonly string[]
  /** The content of its directory, by the paths there. */
  readonly in?: { readonly [path: string]: CommandInput }
  /** The directory within its own in which the program runs; `out` does not count from there. Default:
   *  its own. */
  readonly cwd?: string
  /** Its stdin. Default: an empty one. */
  readonly stdin?: CommandInput
  /** The files that are its result. Default: its stdout is. */
  readonly out?: O
  /** Its environment. Default of PATH: `/usr/local/bin:/usr/bin:/bin`. */
  readonly env?: { readonly [name: string]: string }
}

/** The element of a branch of `commands`, wherever it stands: a file, stdin, or an argument. */
export interface CommandElement {
  readonly type: 'element'
}

/** A command for each element of an array; elsewhere as `CommandSpec`. */
export type CommandsSpec<O extends CommandOutputs | undefined = CommandOutputs | undefined> = Omit<
  CommandSpec<O>,
  'run' | 'in' | 'stdin'
> & {
  /** The program and its arguments. An element that is one of them is text. */
  readonly run: readonly (string | CommandElement)[]
  /** The content of its directory, by the paths there. */
  readonly in?: { readonly [path: string]: CommandInput | CommandElement }
  /** Its stdin. Default: an empty one. */
  readonly stdin?: CommandInput | CommandElement
}

/** The result of a command: its outputs by their names, or its stdout. */
export type CommandResult<O> = O extends CommandOutputs
  ? { -readonly [K in keyof O]: Uint8Array }
  : Uint8Array

/** The targets that a run makes, in the form in which it gives their results. */
export type WantedTargets =
  | Target<unknown>
  | readonly WantedTargets[]
  | { readonly [name: string]: WantedTargets | undefined }

/** The results of a run, in the form of the targets that it was given. */
export type WantedResults<W> =
  W extends Target<infer T>
    ? T
    : W extends undefined
      ? W
      : { -readonly [K in keyof W]: WantedResults<W[K]> }

/** The results of a run whose `onError` is of the type `M`: null may stand for each of them and for
 *  each branch if that may be `null`, and undefined for each if it may be `trim`. */
export type RunResults<W, M> = [Extract<M, 'null' | 'trim'>] extends [never]
  ? WantedResults<W>
  : W extends Target<infer T>
    ? T | NullIn<M> | ('trim' extends M ? undefined : never) | BranchesWithNull<T, M>
    : W extends undefined
      ? W
      : { -readonly [K in keyof W]: RunResults<W[K], M> }

type BranchesWithNull<T, M> = T extends readonly (infer E)[]
  ? 'null' extends M
    ? (E | null)[]
    : never
  : never

/** The output of a call, as a run with a store keeps it. `targetOutput` gives it. */
export interface TargetOutput {
  /** Prints text, as UTF-8, or bytes, which are copied. It never waits. Default of `stream`:
   *  `stdout`. */
  write(data: string | Uint8Array, stream?: 'stdout' | 'stderr'): void
}

/** The store of a flow, and what is kept there. */
export type FlowStore = {
  /** The store whose cache keeps the results, and which records runs. */
  readonly store: Store
  /** The layer of the cache. Default: `mainLayer`. */
  readonly layer?: string
  /** The name of the flow, 1 to 57 of a-z, 0-9, "_" and "-", that starts with a letter or digit.
   *  Flows of one store whose targets have the same names need names of their own. Default: `main`. */
  readonly flow?: string
}

/** The way in which a program began a run, which the log of the run tells, so that the program can begin
 *  it again. `tailrace flow run` gives it. */
export type RunOrigin = {
  /** The file of the targets, as it was given. */
  readonly file: string
  /** The working directory, an absolute path. */
  readonly directory: string
  /** The names of the targets that were given; none for all of the file. */
  readonly targets: readonly string[]
  /** The options that were given, as texts, by their names; true for a flag. */
  readonly options: { readonly [name: string]: string | true | readonly string[] }
}

/** The options of `run`. With `store` results are kept there, and found again. `M` is the type of
 *  `onError`. */
export type FlowRunOptions<M extends FailureMode = FailureMode> = Partial<FlowStore> & {
  /** The way in which the run was begun, for its log. */
  readonly origin?: RunOrigin
  /** The id of the run that this one goes on with. The log names it. */
  readonly resumes?: string
  /** The values whose memory results take in a run with a store. Default: values of the run's own. */
  readonly values?: PackedValues
  /** The workers that call the functions. Default: they are called in this process. */
  readonly workers?: FlowWorkers
  /** The most calls that run at the same time. Default: the number of processors; with workers, what
   *  they take. */
  readonly concurrency?: number
  /** The amount that there is of each resource that targets need, by name: whole numbers. */
  readonly limits?: { readonly [resource: string]: number }
  /** The answer to a target that fails and says nothing else. Default: stop. With `null` functions may
   *  get null where the types of their inputs do not say so. */
  readonly onError?: M
  /** The number of calls after the first one of targets that say nothing else. Default: 0. */
  readonly retries?: number
  /** Targets of the run, or names of targets and of branches, that are called though their results are in
   *  the store. */
  readonly rerun?: readonly (Target<unknown> | string)[]
  /** True to call again what depends on the targets of `rerun`. Default: false, so that it is called
   *  again only if their results are others than before. */
  readonly rerunDependents?: boolean
  /** True to watch, with strace, which files the programs of commands read, and to tell those that are no
   *  inputs by events `audit`. Not with `workers`. A target whose result is there is not called, and
   *  not audited. Without strace commands fail with EMISCONFIGURED. Default: false. */
  readonly audit?: boolean
  /** Ends the run: nothing more begins, and the signal of `targetSignal` aborts. */
  readonly signal?: AbortSignal
}

/** Something that happens in a run. `at` is the wall clock, ms since 1970. */
export type FlowEvent =
  /** The result of a target was there already, or another process made it. */
  | { readonly type: 'hit'; readonly target: string; readonly at: number }
  /** The function of a target was called. */
  | { readonly type: 'start'; readonly target: string; readonly at: number }
  /** The result of a target is there. `ms`: how long its call took; for a `map` or `cross`, the time
   *  since its branches were known. `call`: the parts of a call of a worker. */
  | {
      readonly type: 'finish'
      readonly target: string
      readonly at: number
      readonly ms: number
      readonly call?: WorkerCallFacts
    }
  /** The worker that had begun the call of a target is gone: it is called again. */
  | { readonly type: 'lost'; readonly target: string; readonly at: number }
  /** No worker that is there now takes the target: it waits until one joins. Told once for all targets of
   *  its label, until one has joined. */
  | {
      readonly type: 'wait'
      readonly target: string
      readonly at: number
      readonly label?: string
    }
  /** A worker that has joined is not asked any more, since its code is not that of the run, or it does not
   *  know the target: others call it. `worker`: its id and its machine. */
  | {
      readonly type: 'refuse'
      readonly target: string
      readonly at: number
      readonly worker: string
      readonly error: unknown
    }
  /** The program of a command has read files that are no inputs of its target, nor the system's: their
   *  absolute paths, sorted, at most 200. Only with `audit`. */
  | {
      readonly type: 'audit'
      readonly target: string
      readonly at: number
      readonly files: readonly string[]
    }
  /** The branches of a `map` or `cross` are known. */
  | {
      readonly type: 'branch'
      readonly target: string
      readonly at: number
      readonly branches: number
    }
  /** A call failed, and the target is called again in `waitMs`. `tries`: the calls that failed so far. */
  | {
      readonly type: 'retry'
      readonly target: string
      readonly at: number
      readonly error: unknown
      readonly tries: number
      readonly waitMs: number
    }
  /** A target failed: its function threw `error`, its time was over, or it goes through something that is
   *  no array. `onError`: what comes of it. */
  | {
      readonly type: 'fail'
      readonly target: string
      readonly at: number
      readonly error: unknown
      readonly onError: FailureMode
    }
  /** A target is not made, since `because`, which it depends on, failed, or was left out. */
  | {
      readonly type: 'skip'
      readonly target: string
      readonly at: number
      readonly because: string
    }

/** A run. It begins in a later turn of the event loop, and needs nobody who reads its events. */
export interface FlowRun<T> extends AsyncIterable<FlowEvent> {
  /** The id under which the store has the run's eventlog; undefined without a store. */
  readonly id: string | undefined
  /** The results of the targets that `run` was given, once all calls have ended. Rejects with what the
   *  first target threw that failed as `stop` or `continue`; with ECANCELED or ETIMEDOUT if the run's signal aborted; and,
   *  before anything is called, with EINVAL (two targets have one name; a target needs more of a
   *  resource than there is) and E2BIG (more than `targetsMax` targets). */
  readonly result: Promise<T>
  /** Yields what happens from the begin of the run on, until it ends, to each who asks. It throws
   *  nothing: `result` tells how the run ended. Who reads the events sees a failure there, so that a
   *  `result` that rejects before he looks at it is no unhandled rejection. */
  [Symbol.asyncIterator](): AsyncIterator<FlowEvent, void, undefined>
}

/** The options of `openWorkers`. */
export type FlowWorkersOptions = {
  /** The modules that export the targets: paths, or URLs of files such as `import.meta.url`. Each
   *  process and each thread imports them, in their order. Needed unless there is `remote` alone. */
  readonly module?: string | URL | readonly (string | URL)[]
  /** The workers that have joined a store are taken, too, and those that join later. Default: none. */
  readonly remote?: RemoteWorkersOptions
  /** The number of processes. Default: the number of processors, or 0 if `threads` or `remote` is
   *  given. */
  readonly processes?: number
  /** The number of threads of this process. Default 0. */
  readonly threads?: number
  /** The labels of its processes and threads, which may call targets of these labels. Default: none. */
  readonly labels?: readonly string[]
  /** The calls that a worker runs at the same time: more than 1 is of use for functions that wait.
   *  Default 1, at most `workerSlotsMax`. */
  readonly slots?: number
  /** The time that a call has to end after its signal aborted, in ms: then its worker is killed.
   *  Default 5,000. */
  readonly graceMs?: number
  /** The time after which a worker takes no more calls, and is replaced, in ms. Default: none. */
  readonly lifetimeMs?: number
  /** The number of calls after which a worker is replaced. Default: no bound that matters. */
  readonly callsMax?: number
  /** The packed bytes of inputs that a worker remembers for later calls. Default 256 MiB. */
  readonly inputsSizeMax?: number
}

/** The largest number of calls that a worker runs at the same time. */
export const workerSlotsMax = 64
/** The largest number of labels of a worker. */
export const workerLabelsMax = 16
/** The largest number of workers of one `openWorkers`. */
export const workersMax = 256

/** The workers of a store that are taken for calls, and given back when they have none for a while. */
export type RemoteWorkersOptions = {
  /** The store that they have joined; see `serveWorker`. */
  readonly store: Store
  /** The label that a worker must have. Default: any worker is taken. */
  readonly label?: string
  /** The time after which a scheduler that is silent counts as dead, in ms, 1,000 to 10,000. Default
   *  8,000. */
  readonly ttlMs?: number
}

/** The options of `serveWorker`. */
export type ServeWorkerOptions = Pick<
  FlowWorkersOptions,
  'slots' | 'labels' | 'callsMax' | 'lifetimeMs' | 'graceMs'
> & {
  /** The modules that export the targets, as in `FlowWorkersOptions`. */
  readonly module: string | URL | readonly (string | URL)[]
  /** The time after which a worker that is silent counts as dead, in ms, 1,000 to 10,000. Default
   *  8,000. */
  readonly ttlMs?: number
  /** Hears what happens to the worker. */
  readonly onEvent?: (event: ServedWorkerEvent) => void
}

/** Something that happens to a worker that has joined a store. free: it can be taken. taken: a scheduler
 *  has it. idle: that scheduler has given it back, or is gone. died: the process that calls functions
 *  has ended while it was taken. leaving: it takes no more calls. away: it counted as dead, since the
 *  store did not hear of it in time, and joins again. */
export type ServedWorkerEvent =
  | { readonly type: 'free' | 'leaving' }
  | { readonly type: 'taken'; readonly by: string }
  /** `answered`: the number of calls that it has answered so far. */
  | { readonly type: 'idle'; readonly answered: number }
  | { readonly type: 'died' | 'away'; readonly why: string }

/** A worker that has joined a store. To dispose of it lets it leave. */
export interface ServedWorker extends AsyncDisposable {
  readonly id: string
  /** Resolves when it has left. Rejects with EINVAL (a module cannot be imported, or exports no target),
   *  EIO (its processes end before they are ready), and what the store throws. */
  readonly ended: Promise<void>
  /** Takes no more calls, and leaves when it has answered those that it has begun, after `graceMs` at the
   *  latest; what it has not begun goes elsewhere. */
  leave(): void
}

/** A worker that has joined a store, as `workersOf` tells it. */
export type RemoteWorkerView = {
  readonly id: string
  /** free: it can be taken. busy: a scheduler has taken it. gone: it has died. */
  readonly state: 'free' | 'busy' | 'gone'
  /** A text that says which scheduler has taken it. */
  readonly takenBy?: string
  readonly host: string
  readonly pid: number
  readonly slots: number
  readonly labels: readonly string[]
  /** The paths of its modules. */
  readonly modules: readonly string[]
  /** The time when it joined, ms since 1970. */
  readonly since: number
  /** The number of calls that it had answered when it was free last. */
  readonly answered: number
}

/** A worker as `FlowWorkers.list` shows it. */
export type FlowWorkerView = {
  readonly kind: 'process' | 'thread' | 'remote'
  /** The id of a remote worker, and the name of its machine. */
  readonly id?: string
  readonly host?: string
  /** Its number among those that were started, from 1 on. */
  readonly worker: number
  /** The id of its process on its machine; that of this one for a thread. */
  readonly pid: number | undefined
  /** starting: it imports the modules. leaving: it takes no more calls. */
  readonly state: 'starting' | 'ready' | 'leaving'
  /** The names of the targets that were sent to it and not answered, in their order. */
  readonly calls: readonly string[]
  /** The number of calls that it has answered. */
  readonly answered: number
}

/** The parts of a call of a worker. */
export type WorkerCallFacts = {
  /** The number of the worker among those that its `openWorkers` has started, from 1 on. */
  readonly worker: number
  /** The times in which its inputs were loaded by the scheduler and opened by the worker, its function
   *  ran, and its result was packed. */
  readonly fetchMs: number
  readonly unpackMs: number
  readonly runMs: number
  readonly packMs: number
}

/** Processes and threads that call functions of targets, for any number of runs. `openWorkers` of
 *  `tailrace/worker` makes them. To dispose of them ends them, once their calls have ended. */
export interface FlowWorkers extends AsyncDisposable {
  readonly type: 'workers'
  /** Tells the workers that there are now. */
  list(): readonly FlowWorkerView[]
}
