/** Keys: the calls that write, read and watch them, embedded and over a server. See rfc/6. One
 *  contract suite (test/kvs/contract.ts) tests both. A key is names joined by `/`, at most
 *  `keySizeMax` bytes of UTF-8; `a//b/` is `a/b`, and `/` is the root directory.
 *  Invariant: the answer to a write means that it is durable. A reader sees one root at a time. */

import type { Blobref } from '../blob/blobref.js'
import type { Attrs, Base, Treeobj, TreeobjJson } from '../treeobj/treeobj.js'
import type { History } from './history.js'
import type { Namespaces } from './namespace.js'
import type {
  Cap,
  Capping,
  Committed,
  CommittedOp,
  Expiry,
  Guard,
  Producer,
  Scope,
  Transaction,
  Value,
} from './transaction.js'
import type { Upkeep } from './upkeep.js'
import type { Watching, WatchOptions } from './watch.js'

/** The largest value that `get` returns, in bytes. A larger one is E2BIG: use `read`. */
export const getSizeMax = 256 * 1024 * 1024
/** The largest number of entries on a page: names of `list`, blobrefs of `treeobj`, roots, keys
 *  of a difference. */
export const pageMax = 10_000
/** The number of characters of names and keys after which a page of `list`, `roots` or `diff` ends.
 *  Such a page may have fewer entries than its `limit`, although `more` is true. */
export const pageSizeMax = 4 * 1024 * 1024
/** The number of entries on a page if `limit` is left out. */
export const pageDefault = 1_000
/** The largest number of keys in one `readMany`. */
export const readKeysMax = 1_024
/** The largest size of all values of one `readMany`, in bytes. */
export const readSizeMax = 16 * 1024 * 1024

/** The description of a key, which is known without reading its blobs. */
export type Stat = {
  /** The kind of the key. `val`: a small value, which stands in its directory. `valref`: a larger
   *  value, or a log. */
  readonly type: Treeobj['type']
  /** The name of the key's whole content: keys with equal refs have equal contents. Use it in
   *  ETags and guards. */
  readonly ref: Blobref
  /** valref: the number of blobs, those that a trim dropped included; val: 1; dir: the number of
   *  keys below, at any depth; symlink: 0. */
  readonly count: number
  /** The bytes of the value, those that a trim dropped included. */
  readonly size: number
  /** True if nothing can be appended any more. */
  readonly sealed: boolean
  /** The blobs and bytes that a trim dropped from the head of a log; absent where none were. */
  readonly base?: Base
  /** The attributes that are kept with the value, such as its content type. */
  readonly attrs?: Attrs
  /** The time at which the key is removed by the store, ms since 1970. Only `stat` tells it, at the
   *  newest root, of a key in the namespace that was asked. */
  readonly expires?: number
  /** The bounds that appends keep a log within. Told where `expires` is told. */
  readonly cap?: Cap
  /** symlink: the key that it leads to (seen with `nofollow` only). */
  readonly target?: string
  /** symlink: the namespace that it leads to; absent if that is its own. */
  readonly namespace?: string
  /** The seq of the root that was read. */
  readonly seq: number
}

/** A root of a namespace. */
export type RootView = {
  readonly namespace: string
  /** The number of transactions since the namespace was created. */
  readonly seq: number
  /** The name of all that the namespace had then. */
  readonly ref: Blobref
  /** The random id of this life of the namespace, from its creation to its removal. */
  readonly incarnation: string
  /** The time of its commit, wall clock, ms since 1970. */
  readonly time: number
}

/** The options of `root`. */
export type RootOptions = Scope & {
  /** The seq to wait for before the newest root is returned. */
  readonly waitSeq?: number
  /** A time of the wall clock, ms since 1970: the root that was the newest one then, by the clock of
   *  the machine that made it. Not with `waitSeq`. */
  readonly time?: number
}

/** A value at one root, as a stream. */
export type Reading = {
  readonly stat: Stat
  /** The bytes, which are loaded as they are consumed. Iterate it at most once. */
  readonly chunks: AsyncIterable<Uint8Array>
}

/** A value and its stat at one root. Use `stat.ref` in a guard. */
export type Entry = {
  readonly value: Uint8Array
  readonly stat: Stat
}

/** An entry of a directory. */
export type ListEntry = {
  /** The name, or with `recursive` the key relative to the listed directory. */
  readonly name: string
  readonly type: Treeobj['type']
  /** See `Stat.count`. */
  readonly count: number
  /** The bytes of the value, without those that a trim dropped. */
  readonly size: number
}

/** A page of a directory. */
export type Listing = {
  readonly entries: readonly ListEntry[]
  /** True if there are more entries: ask again `after` the last name. */
  readonly more: boolean
  /** The seq of the root that was read. The next pages ask `at` the seq of the first. */
  readonly seq: number
}

/** The options of a read that choose the root. */
export type ReadScope = Scope & {
  /** The root to read: a seq, for the root of the commit that holds it, or a ref. It must be
   *  retained, pinned, or named by an answer within the last minute; otherwise ECOMPACTED. A seq
   *  that is not there yet is EINVAL. Default: the newest root. */
  readonly at?: number | string
  /** The seq to wait for, so that a reader sees what it wrote elsewhere. */
  readonly minSeq?: number
}

/** The options of `read`. */
export type ReadOptions = ReadScope & {
  /** The index of one blob to read, counted from 0. Not with `from` and `to`. */
  readonly index?: number
  /** The byte to begin with. Below the base of a trimmed log it is ECOMPACTED, and
   *  `failed.state.base` says where the log begins. */
  readonly from?: number
  /** The byte to end before. */
  readonly to?: number
}

/** The options of `stat`. */
export type StatOptions = ReadScope & {
  /** True to describe a link that is the last component of the key, in place of the key
   *  that it leads to. */
  readonly nofollow?: boolean
}

/** The options of `treeobj`. */
export type TreeobjOptions = ReadScope & {
  /** The index after which the page of refs begins. */
  readonly after?: number
  /** The number of refs on the page, 1 to `pageMax`; default `pageDefault`. */
  readonly limit?: number
}

/** The options of `list`. */
export type ListOptions = ReadScope & {
  /** The name after which the page begins, there or not. */
  readonly after?: string
  /** The number of names on the page, 1 to `pageMax`; default `pageDefault`. */
  readonly limit?: number
  /** True to list all keys below the directory, at any depth. */
  readonly recursive?: boolean
}

/** The options of `commit`. */
export type CommitOptions = Scope & {
  /** True if the caller gives its bytes away, and nobody writes to them again. It saves a copy
   *  of large values. */
  readonly transfer?: boolean
  /** A key of 1 to `idempotencyKeySizeMax` bytes. The same transaction sent again under the same
   *  key is not applied again, and gets the answer of the first time. Throws EINVAL (another
   *  transaction was sent under it), EUNKNOWN (the answer is no longer kept). */
  readonly idempotencyKey?: string
  /** A seq of the namespace from before the write was first sent under its `idempotencyKey`, for a
   *  write that is sent again. If its answer may have been forgotten since that seq, the write is
   *  EUNKNOWN with `failed.state: {floor}` (the newest seq whose answer was forgotten), and is not
   *  done. Left out: a write whose answer was forgotten is done again. Throws EINVAL without
   *  `idempotencyKey`. */
  readonly idempotencySince?: number
  /** True to make a client send the write again, under an `idempotencyKey`, until it is answered or
   *  the signal aborts: it is done once. Without this option a write whose answer was lost is
   *  EUNKNOWN. Embedded it changes nothing. */
  readonly exactlyOnce?: boolean
  /** True to make a client send a write again until it is answered or the signal aborts, without a
   *  kept answer: for one that is done at most once by itself, since it takes away what its guards
   *  ask for. If such a write is refused after a try that was not answered, that is EUNKNOWN with the
   *  refusal as its cause: look if it was done. Embedded it changes nothing. Throws EINVAL together
   *  with `exactlyOnce`. */
  readonly resend?: boolean
  /** The place of the write in a trace, as the header `traceparent` has it (W3C Trace Context). Watches
   *  over a websocket tell it with the write's events. A client sets it by itself below an active span of
   *  OpenTelemetry. */
  readonly trace?: string
}

/** The options of `put`. */
export type PutOptions = Omit<CommitOptions, 'transfer'> &
  Expiry &
  Capping & {
    /** The content type, 1 to 255 characters of visible ASCII. It is kept with the value, and HTTP
     *  serves the value with it. */
    readonly contentType?: string
    /** The guards of the transaction. All must hold, else ECONFLICT. */
    readonly guards?: readonly Guard[]
  }

/** The options of `append`. */
export type AppendOptions = CommitOptions &
  Expiry &
  Capping & {
    /** True if this append is the log's last: it is then sealed. */
    readonly seal?: boolean
    /** The producer of the append, and the number of the append. `Kvs.producer` counts for you. */
    readonly producer?: Producer
    /** The guards of the transaction. All must hold, else ECONFLICT. */
    readonly guards?: readonly Guard[]
  }

/** The options of `Store.update`. */
export type UpdateOptions = Omit<
  PutOptions,
  'guards' | 'idempotencyKey' | 'idempotencySince' | 'exactlyOnce' | 'resend'
>

/** The options of `producer`. */
export type ProducerOptions = Scope & {
  /** The id, 1 to `producerIdSizeMax` bytes without `/`. Default: a new one. */
  readonly id?: string
  /** The epoch. `next` (the default) is above all epochs that the producer had, so that an earlier
   *  one of the same id is fenced. A number is ECONFLICT where somebody has it. */
  readonly epoch?: number | 'next'
}

/** The options of an append by a producer. */
export type ProducerAppendOptions = {
  /** True if this append is the log's last: it is then sealed. */
  readonly seal?: boolean
  /** Ends the wait for the answer; the append may still be done. */
  readonly signal?: AbortSignal
}

/** A producer, which numbers its appends to one key, sends them in order, and sends them again
 *  until they are answered: each is done once. Its first append fences producers with the same
 *  id and a lower epoch. An error ends it: later appends are refused with the same error, so
 *  open another one. */
export interface AppendProducer extends AsyncDisposable {
  readonly id: string
  readonly key: string
  /** The epoch. It may grow with the first append, where others open the same producer. */
  readonly epoch: number
  /** The number of appends that were answered. */
  readonly next: number
  /** Appends a value, without waiting for the answers of earlier appends. Throws EBUSY (too many
   *  wait), E2BIG, ESEALED, EFENCED, ECONFLICT (the value was replaced), ECLOSED, and what
   *  `Kvs.append` throws. */
  append(value: Value, options?: ProducerAppendOptions): Promise<CommittedOp>
}

/** The blobs of a store, by their refs. See rfc/3 and rfc/18, rule 11. */
export interface Blobs {
  /** Loads a blob, no matter which key or namespace refers to it; so only the owner may. Undefined
   *  where it is not stored. Throws EINVAL (`ref` is no blobref). */
  load(ref: string, options?: { readonly signal?: AbortSignal }): Promise<Uint8Array | undefined>
  /** Stores a blob of at most `blobSizeMax` bytes, and returns its ref for a later `treeobj` op. No
   *  key names it yet, so it is kept for an hour. Throws E2BIG, ENOSPC, EIO. */
  store(bytes: Uint8Array, options?: { readonly signal?: AbortSignal }): Promise<Blobref>
}

/** The calls on keys, and on the parts of the store that keep them. Besides the errors that are
 *  named, each call may throw EINVAL (a wrong argument, an unknown option), ECANCELED and ETIMEDOUT
 *  (its signal), ECLOSED (the store was closed), EIO, ECORRUPT (the store is damaged: run fsck);
 *  over a server also EUNAUTH, EUNKNOWN. */
export interface Kvs {
  /** The history: retained roots, differences between them, pins. */
  readonly history: History
  /** The namespaces, each with its own keys, roots and settings. */
  readonly namespaces: Namespaces
  /** The upkeep of the store: usage, collection, forgetting, export, import. */
  readonly upkeep: Upkeep
  /** The blobs, by their blobrefs. */
  readonly blobs: Blobs

  /** Applies a transaction, all of it or nothing. It is durable when it resolves. Throws ECONFLICT
   *  (a guard does not hold, or a lease is held; `failed` has the state), EFENCED, EISDIR, ENOTDIR,
   *  EEXIST, ENOENT, ENOTEMPTY, ESEALED, ELOOP, EPERM (a reserved namespace, a link out of the
   *  namespace), E2BIG, EDQUOT, EBUSY (too much waits), ENONS, ENOSPC, EUNKNOWN (look before you
   *  send it again).
   *
   *      await store.commit({
   *        guards: [{ key: 'config', ref: seen.ref }],
   *        ops: [
   *          { op: 'put', key: 'config', value: json },
   *          { op: 'append', key: 'changes', value: line },
   *        ],
   *      })
   */
  commit(transaction: Transaction, options?: CommitOptions): Promise<Committed>
  /** Puts a value at a key, in place of a value, log or link that is there, and makes the
   *  directories above it. Text is stored as UTF-8. A stream may have any size; it is uploaded
   *  first, and becomes the value when it has ended without an error. Throws EISDIR, ENOTDIR, what
   *  the stream throws, and what `commit` throws. */
  put(
    key: string,
    value: Value | AsyncIterable<Uint8Array>,
    options?: PutOptions,
  ): Promise<CommittedOp>
  /** Appends a value to the log at a key, which is made if it is not there. A value above
   *  `blobSizeMax` becomes several blobs, all but the last marked `more`. `result.index` is the
   *  index of the first new blob, and `result.count` the number of blobs after the append. Throws
   *  ESEALED, EISDIR, ENOTDIR, and what `commit` throws. */
  append(key: string, value: Value, options?: AppendOptions): Promise<CommittedOp>
  /** Opens a producer: each of its appends is done once, in order, even if a connection is lost.
   *  Throws what `commit` throws. */
  producer(key: string, options?: ProducerOptions): Promise<AppendProducer>

  /** Returns the whole value; undefined where the key is not there. Throws EISDIR, E2BIG (above
   *  `getSizeMax`), ELOOP, ENONS, ECOMPACTED. */
  get(key: string, options?: ReadScope): Promise<Uint8Array | undefined>
  /** Returns the value as a stream; undefined where the key is not there. Throws EISDIR, ENOENT
   *  (`index` is past the end), ECOMPACTED (the root is no longer retained, or the start is below a
   *  log's base), ELOOP, ENONS. */
  read(key: string, options?: ReadOptions): Promise<Reading | undefined>
  /** Describes a key; undefined where it is not there. Throws ELOOP, ENONS, ECOMPACTED. */
  stat(key: string, options?: StatOptions): Promise<Stat | undefined>
  /** Returns the treeobj at a key as JSON of Flux's RFC 11, a page of refs at a time; undefined
   *  where the key is not there. Throws ELOOP, ENONS, ECOMPACTED. */
  treeobj(key: string, options?: TreeobjOptions): Promise<TreeobjJson | undefined>
  /** Returns a page of the names of a directory, in the order of their UTF-8 bytes. Throws ENOENT,
   *  ENOTDIR, ENONS, ECOMPACTED. */
  list(key: string, options?: ListOptions): Promise<Listing>
  /** Returns the values of many keys at one root, in the order of the keys; undefined for a key
   *  that is not there. Throws E2BIG (more than `readKeysMax` keys, a value above `blobSizeMax`
   *  bytes, all together above `readSizeMax`), EISDIR. */
  readMany(
    keys: readonly string[],
    options?: ReadScope,
  ): Promise<{ readonly seq: number; readonly values: readonly (Uint8Array | undefined)[] }>

  /** Returns a root of a namespace, by default the newest. Read at its seq what was there then. Throws
   *  ENONS, ECOMPACTED (no root of that time is retained; `failed.state` has the `seq` and the `time`
   *  of the oldest that is). */
  root(options?: RootOptions): Promise<RootView>

  /** Watches a key, at the pace of the consumer. The iteration throws where nothing more can come:
   *  EOVERWRITTEN (an append key was replaced), ENOENT, EISDIR, ENONS, ECOMPACTED (a trim overtook
   *  the watcher). A client that lost its connection goes on from its last event. Leaving the loop
   *  ends the watch.
   *
   *      const options = { mode: 'append', waitCreate: true } as const
   *      for await (const event of store.watch('build/log', options)) {
   *        if (event.type === 'append') process.stdout.write(event.data)
   *      }
   */
  watch(key: string, options: WatchOptions): Watching
}
