/** The result cache: claims of actions, and their results. See rfc/22. */

import type { Lease, TakeLeaseOptions } from './lease.js'
import type { Guard, Token, Value } from './transaction.js'

/** The layer of a cache that names none. It is made where it is first used. */
export const mainLayer = 'main'
/** The largest number of layers above each other. */
export const layersMax = 8
/** The name of the output of a result that has one. */
export const onlyOutput = 'value'
/** The largest number of outputs of a result. */
export const outputsMax = 256
/** The largest number of results on a page. */
export const resultsPageMax = 1_000
/** The largest number of differences that `why` tells. */
export const differencesMax = 1_000

/** The options of `openCache`. */
export type CacheOptions = {
  /** The layer that results are published into, and looked for first. Default: `mainLayer`. */
  readonly layer?: string
  /** A text for people that says who makes the results, at most 256 bytes. */
  readonly owner?: string
  /** The name of the code that makes the results, such as a commit. It is shown with them, and is no
   *  part of the action. */
  readonly code?: string
}

/** A result, without the bytes of its outputs. */
export type ResultView = {
  /** The id of its action: 64 hex digits. */
  readonly id: string
  readonly layer: string
  /** The outputs by name, with their sizes in bytes. */
  readonly outputs: { readonly [name: string]: { readonly size: number } }
  /** The process that made it. */
  readonly by: { readonly host: string; readonly pid: number; readonly owner?: string }
  /** The time of the claim, or of `begin`, wall clock, ms since 1970. */
  readonly started: number
  /** The time from then to the publish, in ms. */
  readonly tookMs: number
  /** See `CacheOptions.code`. */
  readonly code?: string
  /** The fencing token of the claim. */
  readonly token: Token
  /** The seq of the layer's root at which it was found. */
  readonly seq: number
}

/** A result that was found. Its outputs are read at the root where it was found, so that they
 *  belong together whatever is published or removed meanwhile. Besides what is named, its calls
 *  throw ENOENT (there is no output of that name, or its bytes are gone), ECOMPACTED (the result was
 *  removed so long ago that its bytes are no longer retained: claim again), and what `Kvs.read`
 *  throws. */
export interface Hit {
  readonly type: 'hit'
  readonly result: ResultView
  /** Returns an output; default `onlyOutput`. Throws E2BIG (above `getSizeMax`: use `stream`). */
  get(name?: string): Promise<Uint8Array>
  /** Returns where the bytes of an output stand; undefined for a small one, which came with the hit.
   *  Reads nothing. Throws ENOENT. Default: `onlyOutput`. */
  place(name?: string): StoredOutput | undefined
  /** Returns the action that it is the result of. */
  action(): Promise<unknown>
  /** Yields the bytes of an output, which are loaded as they are consumed; default `onlyOutput`. */
  stream(name?: string): AsyncGenerator<Uint8Array, void, undefined>
}

/** The key of an output, and the seq of the root at which the result was found. */
export type StoredOutput = {
  readonly namespace: string
  readonly key: string
  readonly at: number
}

/** The outputs that `publish` takes: one, or several by name. A stream may have any size. */
export type Outputs = OneOutput | { readonly [name: string]: OneOutput }

/** One output. Text is stored as UTF-8. */
export type OneOutput = Value | AsyncIterable<Uint8Array> | StoredBytes

/** Bytes that stand at a key of the store already: they become an output by reference, at the same cost for
 *  any size. `storedBytes` makes it. */
export interface StoredBytes {
  readonly key: string
  readonly namespace: string
  /** The number of bytes. */
  readonly size: number
  readonly [storedType]: true
}

/** Marks the type of bytes that are stored. It stands in types only. */
declare const storedType: unique symbol

/** The right to compute an action. Nobody else has it until it is published, abandoned or lost. It
 *  is renewed meanwhile. */
export interface Claim extends AsyncDisposable {
  readonly type: 'claimed'
  /** The id of the action. */
  readonly id: string
  /** The fencing token. */
  readonly token: Token
  /** A guard that fences writes of the work to the layer's namespace. */
  readonly guard: Guard
  /** Aborts with EFENCED as soon as somebody else may have the claim: the work must end then. */
  readonly signal: AbortSignal
  /** Says that the work begins now, for one who claims before there is time for it: `started` and
   *  `tookMs` of the result count from here. */
  begin(): void
  /** Publishes the result and ends the claim, in one step: all outputs appear together. Streams and
   *  large values are stored before that. Throws EFENCED (the claim was lost; nothing was
   *  published), ECLOSED (it has ended), EUNKNOWN (look whether the result is there), what a stream
   *  throws, and what `Kvs.put` throws; then the claim goes on. */
  publish(outputs: Outputs): Promise<Hit>
  /** Ends the claim without a result, as leaving an `await using` does. Idempotent. */
  abandon(): Promise<void>
}

/** The answer to a claim with `wait: 'skip'` of an action that somebody else computes. */
export interface Busy {
  readonly type: 'busy'
  /** The id of the action. */
  readonly id: string
  /** The holder of the claim. */
  readonly holder: { readonly token?: Token; readonly owner?: string }
  /** Resolves to the result once it is there, or to undefined if the claim ended without one.
   *  Rejects as `claim` does, also if its signal aborts. It need not be awaited. */
  readonly result: Promise<Hit | undefined>
}

/** The options of `claim` and `rerun`. */
export type ClaimOptions = {
  /** The answer if somebody else has the claim. wait (the default): wait for its end, then look
   *  again. skip: return at once. fail: throw ECONFLICT; `failed.state` names the holder. */
  readonly wait?: 'wait' | 'skip' | 'fail'
  /** The largest number of holders to wait for, 1 or more; the next one is ECONFLICT. Default: no
   *  bound. */
  readonly tries?: number
  /** The longest time to wait, in ms; then ETIMEDOUT. Default: no bound. */
  readonly timeoutMs?: number
  /** The time after the last renewal at which the claim ends by itself, in ms, 1,000 to a day.
   *  Default `leaseTtlDefault`. */
  readonly ttl?: number
  /** False to ask for the claim at once, for who has just looked (`load`) and found nothing. A result that
   *  has come since to the layer itself is still a hit. Default: it looks first. */
  readonly look?: boolean
  /** Ends the wait. A claim that was given goes on. */
  readonly signal?: AbortSignal
}

/** The options of `cached`. */
export type CachedOptions = Omit<ClaimOptions, 'wait' | 'look'> & {
  /** The answer if somebody else computes the action: wait for the result (the default), or fail
   *  with ECONFLICT. */
  readonly wait?: 'wait' | 'fail'
}

/** The options of `rerun`. */
export type RerunOptions = CachedOptions & {
  /** False for no warning that others keep the result that is there. Default: true. */
  readonly warn?: boolean
}

/** The options of a look at the cache. */
export type LookOptions = { readonly signal?: AbortSignal }

/** The options of `results.list`. */
export type ListResultsOptions = LookOptions & {
  /** The id after which the page begins, there or not. */
  readonly after?: string
  /** The largest number of results on the page, 1 to `resultsPageMax` (the default). */
  readonly limit?: number
}

/** A page of results. */
export type ResultPage = {
  /** The results in the order of their ids. */
  readonly results: readonly ResultView[]
  /** True if there are more: ask again `after` the last id. */
  readonly more: boolean
}

/** The bounds of a layer. Above them the results that were not used for the longest time go, an
 *  hour of uses counting as one time. An absent bound is none. */
export type LayerBounds = {
  /** The time, in ms, after which a result goes that was not used. */
  readonly keepAgeMs?: number
  /** The largest number of results. */
  readonly keepResults?: number
  /** The largest size of all results, in bytes. */
  readonly keepSize?: number
}

/** A change of bounds. Fields that are left out stay; null removes a bound. */
export type LayerBoundsChange = { readonly [name in keyof LayerBounds]?: number | null }

/** A layer and what it holds. */
export type LayerView = {
  readonly layer: string
  /** The layers above it, the nearest first. */
  readonly parents: readonly string[]
  /** The number of its own results. */
  readonly results: number
  /** The bytes of its own results. */
  readonly size: number
  readonly bounds: LayerBounds
}

/** A part of two actions that differs. */
export type ActionDifference = {
  /** The path within the actions, such as `inputs.data[2].hash`; '' for the whole. */
  readonly path: string
  /** The value in each; a side that lacks the part has none. */
  readonly before?: unknown
  readonly after?: unknown
}

/** The results of a layer by the ids of their actions. */
export interface Results {
  /** Lists the layer's own results. */
  list(options?: ListResultsOptions): Promise<ResultPage>
  /** Returns a result of the layer, or of those above it, by its id or the beginning of an id;
   *  undefined if there is none. Throws EINVAL (no beginning of an id, or several results of one
   *  layer have it). */
  load(id: string, options?: LookOptions): Promise<Hit | undefined>
  /** Removes the layer's own result by its whole id, and returns true if it had one. */
  remove(id: string, options?: LookOptions): Promise<boolean>
}

/** The options of `withLock`. */
export type LockOptions = Pick<TakeLeaseOptions, 'namespace' | 'ttl' | 'owner' | 'signal'>

/** The layers of a store. A name is 1 to 57 of a-z, 0-9, "_" and "-", and starts with a letter or
 *  digit. */
export interface Layers {
  /** Makes a layer, whose reads go on in its parent. Throws EEXIST, ENONS (there is no such parent),
   *  E2BIG (more than `layersMax` above each other). */
  create(layer: string, options?: { readonly parent?: string }): Promise<void>
  /** Removes a layer with its results. Those of its parent stay. Throws ENONS. */
  remove(layer: string): Promise<void>
  /** Changes the bounds of a layer, and returns all of them. What is above them goes after a later
   *  publish. Processes that have the layer open note uses for its bounds once they open it anew.
   *  Throws ENONS. */
  configure(layer: string, change: LayerBoundsChange): Promise<LayerBounds>
  /** Describes a layer. Throws ENONS. */
  show(layer: string, options?: LookOptions): Promise<LayerView>
}

/** The result cache of one layer. An action is a plain value that says all that its result depends
 *  on: what is computed, with which code, from which inputs. Calls that want one action at the same
 *  time share what they ask of the store, each with its own bounds and signal: use one cache object
 *  for them. Besides what is named, each call may
 *  throw EINVAL (an action that cannot be packed: the message names the path; an unknown option),
 *  E2BIG (an action above 1 MiB), ENONS (there is no such layer), and what `Kvs` throws. The calls
 *  need no `this`.
 *
 *      const { cached } = openCache(store)
 *      const model = await cached({ task: 'train', code: 'v3', data: hash }, () => train(file))
 */
export interface Cache {
  readonly layer: string
  /** The layers of the store. */
  readonly layers: Layers
  /** The results by the ids of their actions. */
  readonly results: Results
  /** Returns the result of an action: the one that is there, else the one that somebody computes
   *  now, else what `fn` returns, which is published. So `fn` runs once for all who call at the
   *  same time. A result is a value as an action is, of any size, or undefined; it is what a later
   *  call would get. The signal of `fn` aborts if the claim is lost; then the result of the new
   *  holder is returned. Throws what `fn` throws, and what `claim` throws. */
  cached<T>(
    action: unknown,
    fn: (signal: AbortSignal) => T | Promise<T>,
    options?: CachedOptions,
  ): Promise<T>
  /** Claims an action. A result that is there is a hit, which takes no lock. Otherwise one of all who
   *  claim has the claim. Throws ECONFLICT (`wait: 'fail'`, `tries`), ETIMEDOUT. */
  claim(action: unknown, options?: CachedOptions): Promise<Hit | Claim>
  /** Claims an action, and returns at once with `wait: 'skip'`. */
  claim(action: unknown, options: ClaimOptions): Promise<Hit | Claim | Busy>
  /** Returns the result of an action; undefined if there is none. */
  load(action: unknown, options?: LookOptions): Promise<Hit | undefined>
  /** Claims an action that may have a result, which stays until the new one replaces it. Throws what
   *  `claim` throws. */
  rerun(action: unknown, options?: RerunOptions): Promise<Claim>
  /** Removes the result that this layer has of an action, and returns true if it had one. Who reads
   *  it reads on; later claims meet a miss, or the result of a parent. */
  remove(action: unknown, options?: LookOptions): Promise<boolean>
  /** Returns the smallest parts in which two actions differ, at most `differencesMax`: the answer to
   *  "why did it miss?". */
  why(before: unknown, after: unknown): ActionDifference[]
  /** Runs `fn` while it holds the lease of a key, for which it waits, and releases the lease.
   *  Rejects with EFENCED if the lease is lost meanwhile. Throws what `fn` and `Leases.take`
   *  throw. */
  withLock<T>(key: string, fn: (lease: Lease) => T | Promise<T>, options?: LockOptions): Promise<T>
}
