/** Keys: how they are written, read and watched, the same embedded and over a server. See rfc/6. One contract suite
 *  (test/kvs/contract.ts) tests both.
 *  Promises: an answer means durable; a reader sees one root at a time.
 *  A key is names joined by `/`, at most `keySizeMax` bytes of UTF-8; `a//b/` is `a/b`, and `/` is the root directory. */

import type { Blobref } from '../blob/blobref.js'
import type { Attrs, Base, Treeobj, TreeobjJson } from '../tree/treeobj.js'
import type { Blobs } from './blobs.js'
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

/** Bytes that `get` gives at once. A larger value is E2BIG: use `read`. */
export const getSizeMax = 256 * 1024 * 1024
/** Names on one page of `list`, blobrefs on one page of `treeobj`, at most. */
export const pageMax = 10_000
/** A page of `list`, `roots` or `diff` ends after the entry with which its names and keys have more characters than this.
 *  So it may have fewer entries than its `limit`, and `more` is true all the same. */
export const pageSizeMax = 4 * 1024 * 1024
/** Names or blobrefs on a page whose `limit` was left out. */
export const pageDefault = 1_000
/** Keys in one `readMany`. */
export const readKeysMax = 1_024
/** Bytes of all values of one `readMany`. */
export const readSizeMax = 16 * 1024 * 1024

/** What is known of a key without reading its blobs. */
export type Stat = {
  /** `val`: a small value, which stands in its directory. `valref`: a larger value, or a log. */
  readonly type: Treeobj['type']
  /** Names the key's whole content: equal refs, equal contents. For ETags and guards. */
  readonly ref: Blobref
  /** valref: blobs, those that a trim dropped included; val: 1; dir: keys below, at any depth; symlink: 0. */
  readonly count: number
  /** Bytes, those that a trim dropped included. */
  readonly size: number
  /** Nothing can be appended any more. */
  readonly sealed: boolean
  /** What a trim dropped from the head of a log; absent where nothing was. */
  readonly base?: Base
  /** What was kept with the value, such as its content type. */
  readonly attrs?: Attrs
  /** When the key is removed by itself, ms since 1970. Told by `stat` of a key of the namespace itself at its newest
   *  root. */
  readonly expires?: number
  /** How much of a log is kept as it is appended to. Told where `expires` is told. */
  readonly cap?: Cap
  /** symlink: the key that it leads to (seen with `nofollow` only). */
  readonly target?: string
  /** symlink: the namespace that it leads to; absent: its own. */
  readonly namespace?: string
  /** The seq of the root that was read. */
  readonly seq: number
}

/** A root of a namespace. */
export type RootView = {
  readonly namespace: string
  /** Transactions since the namespace was made. */
  readonly seq: number
  /** Names all that the namespace had then. */
  readonly ref: Blobref
  /** One life of the namespace, from its making to its removal. */
  readonly incarnation: string
  /** Wall clock, ms since 1970. */
  readonly time: number
}

/** One value at one root. */
export type Reading = {
  readonly stat: Stat
  /** Loads as it is consumed. Iterate it at most once. */
  readonly chunks: AsyncIterable<Uint8Array>
}

/** A value and what is known of it, both at one root: `stat.ref` names it for a guard. */
export type Entry = {
  readonly value: Uint8Array
  readonly stat: Stat
}

/** A name of a directory. */
export type ListEntry = {
  /** The name, or with `recursive` the key relative to the listed directory. */
  readonly name: string
  readonly type: Treeobj['type']
  /** See `Stat.count`. */
  readonly count: number
  /** Bytes, without those that a trim dropped. */
  readonly size: number
}

/** A page of a directory. */
export type Listing = {
  readonly entries: readonly ListEntry[]
  /** There is more: ask again `after` the last name. */
  readonly more: boolean
  /** The seq of the root that was read: pages of one listing ask `at` that of the first. */
  readonly seq: number
}

/** Which root is read. */
export type ReadScope = Scope & {
  /** The retained root of the commit that holds this seq, or the retained or pinned root with this ref. Throws
   *  ECOMPACTED (no more retained), EINVAL (a seq that is not there yet). Default: the newest root. */
  readonly at?: number | string
  /** Waits until the namespace has reached this seq, so that a reader sees what it wrote elsewhere. */
  readonly minSeq?: number
}

/** Which part of a value is read. */
export type ReadOptions = ReadScope & {
  /** Only the blob with this index, counted from 0. Not with `from` and `to`. */
  readonly index?: number
  /** Begin at this byte. Below the base of a trimmed log: ECOMPACTED, and `failed.state.base` says where it begins. */
  readonly from?: number
  /** End before this byte. */
  readonly to?: number
}

/** Which root is read, and whether a link is followed. */
export type StatOptions = ReadScope & {
  /** Stop at a link that is the last component, and tell of the link. */
  readonly nofollow?: boolean
}

/** Which page of refs is read. */
export type TreeobjOptions = ReadScope & {
  /** Refs after this index. */
  readonly after?: number
  /** 1 to `pageMax` refs; default `pageDefault`. */
  readonly limit?: number
}

/** Which page of names is read. */
export type ListOptions = ReadScope & {
  /** Names after this one. */
  readonly after?: string
  /** 1 to `pageMax` names; default `pageDefault`. */
  readonly limit?: number
  /** All keys below the directory, at any depth. */
  readonly recursive?: boolean
}

/** How a write is sent. */
export type CommitOptions = Scope & {
  /** The caller gives the bytes away: nobody writes to them again. Saves a copy of large values. */
  readonly transfer?: boolean
  /** 1 to `idempotencyKeySizeMax` bytes. The same transaction sent again under it is answered as it was the first time,
   *  and not done again. Throws EINVAL (another transaction was sent under it), EUNKNOWN (its answer is no more kept). */
  readonly idempotencyKey?: string
  /** A client sends the write again, under an `idempotencyKey`, until it is answered or the signal ends it: it lands
   *  once. Without it a write whose answer was lost is EUNKNOWN. Embedded it changes nothing. */
  readonly exactlyOnce?: boolean
}

/** How a value is put. */
export type PutOptions = Omit<CommitOptions, 'transfer'> &
  Expiry &
  Capping & {
    /** Kept with the value, 1 to 255 characters of visible ASCII; HTTP serves the value with it. */
    readonly contentType?: string
    /** All must hold, else ECONFLICT. */
    readonly guards?: readonly Guard[]
  }

/** How a value is appended. */
export type AppendOptions = CommitOptions &
  Expiry &
  Capping & {
    /** This append is the log's last. */
    readonly seal?: boolean
    /** Who appends, and which of its appends this is: `Kvs.producer` counts for you. */
    readonly producer?: Producer
    /** All must hold, else ECONFLICT. */
    readonly guards?: readonly Guard[]
  }

/** How an updated value is put. */
export type UpdateOptions = Omit<PutOptions, 'guards' | 'idempotencyKey' | 'exactlyOnce'>

/** Who a producer is. */
export type ProducerOptions = Scope & {
  /** 1 to `producerIdSizeMax` bytes, without `/`. Default: a new one. */
  readonly id?: string
  /** `next` (the default): above all that the producer had, so that an earlier one of the same id is fenced. A number:
   *  ECONFLICT where somebody has it. */
  readonly epoch?: number | 'next'
}

/** How a producer appends. */
export type ProducerAppendOptions = {
  /** This append is the log's last. */
  readonly seal?: boolean
  /** Ends the wait for the answer; the append goes its way. */
  readonly signal?: AbortSignal
}

/** Numbers the appends of one producer to one key, sends them in order, and again until they are answered: each lands
 *  once. Its first append fences who appends under the same id with a lower epoch. After an error it is over: later
 *  appends are refused with the same error; open another one. */
export interface AppendProducer extends AsyncDisposable {
  readonly id: string
  readonly key: string
  /** May grow with the first append, where others open the same producer. */
  readonly epoch: number
  /** Appends that were answered. */
  readonly next: number
  /** Appends, without waiting for the answers to those before. Throws EBUSY (too many wait), E2BIG, ESEALED, EFENCED,
   *  ECONFLICT (the value was replaced), ECLOSED, and as `Kvs.append`. */
  append(value: Value, options?: ProducerAppendOptions): Promise<CommittedOp>
}

/** Keys, and the parts of the store that look after them. Besides the errors that are named, each call may throw EINVAL
 *  (an argument, an option that it does not know), ECANCELED and ETIMEDOUT (its signal), ECLOSED (the store), EIO,
 *  ECORRUPT (the store is damaged: fsck); over a server also EUNAUTH, EUNKNOWN. */
export interface Kvs {
  /** Retained roots, differences between them, pins. */
  readonly history: History
  /** Spaces of keys, each with its own roots and settings. */
  readonly namespaces: Namespaces
  /** Usage, collection, forgetting, export, import. */
  readonly upkeep: Upkeep
  /** Blobs by their own names. */
  readonly blobs: Blobs

  /** Applies a transaction, all of it or nothing; durable when it resolves. Throws ECONFLICT (a guard does not hold, or
   *  a lease is held; `failed` has the state), EFENCED, EISDIR, ENOTDIR, EEXIST, ENOENT, ENOTEMPTY, ESEALED, ELOOP,
   *  EPERM (a reserved namespace, a link out of the namespace), E2BIG, EDQUOT, EBUSY (too much waits), ENONS, ENOSPC,
   *  EUNKNOWN (look before you send it again).
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
  /** Makes the key this value, whatever it was but a directory; directories above it are made. Text is UTF-8. A stream
   *  of any size is uploaded first, and becomes the value once it has ended well. Throws EISDIR, ENOTDIR, what the
   *  stream throws, and as `commit`. */
  put(
    key: string,
    value: Value | AsyncIterable<Uint8Array>,
    options?: PutOptions,
  ): Promise<CommittedOp>
  /** Adds a blob to the end of the key, which is made if it is not there. A value above `blobSizeMax` becomes several
   *  blobs, all but the last marked `more`. `result.index` is the first one's index, `result.count` how many blobs there
   *  are then. Throws ESEALED, EISDIR, ENOTDIR, and as `commit`. */
  append(key: string, value: Value, options?: AppendOptions): Promise<CommittedOp>
  /** Opens a producer, whose appends land once each, in order, whatever happens on the way. Throws as `commit`. */
  producer(key: string, options?: ProducerOptions): Promise<AppendProducer>

  /** The whole value; undefined where the key is not there. Throws EISDIR, E2BIG (above `getSizeMax`), ELOOP, ENONS,
   *  ECOMPACTED. */
  get(key: string, options?: ReadScope): Promise<Uint8Array | undefined>
  /** The value as a stream; undefined where the key is not there. Throws EISDIR, ENOENT (`index` past the end),
   *  ECOMPACTED (below a log's base), ELOOP, ENONS. */
  read(key: string, options?: ReadOptions): Promise<Reading | undefined>
  /** What is known of a key; undefined where it is not there. Throws ELOOP, ENONS, ECOMPACTED. */
  stat(key: string, options?: StatOptions): Promise<Stat | undefined>
  /** The treeobj at the key as JSON of Flux's RFC 11, a page of refs at a time; undefined where the key is not there.
   *  Throws ELOOP, ENONS, ECOMPACTED. */
  treeobj(key: string, options?: TreeobjOptions): Promise<TreeobjJson | undefined>
  /** A page of the names of a directory, in the order of their UTF-8 bytes. Throws ENOENT, ENOTDIR, ENONS, ECOMPACTED. */
  list(key: string, options?: ListOptions): Promise<Listing>
  /** The values of many keys at one root, in the order of the keys; undefined where a key is not there. Throws E2BIG
   *  (more than `readKeysMax` keys, a value above `blobSizeMax` bytes, all above `readSizeMax`), EISDIR. */
  readMany(
    keys: readonly string[],
    options?: ReadScope,
  ): Promise<{ readonly seq: number; readonly values: readonly (Uint8Array | undefined)[] }>

  /** The newest root of a namespace. With `waitSeq` waits until it has reached that seq. Throws ENONS. */
  root(options?: Scope & { readonly waitSeq?: number }): Promise<RootView>

  /** Follows a key, at the pace of the consumer. The iteration ends with an error where nothing more can come:
   *  EOVERWRITTEN (an append key was replaced), ENOENT, EISDIR, ENONS, ECOMPACTED (a trim overtook the watcher). A client
   *  whose connection was lost goes on from where it stood. Leaving the loop ends the watch.
   *
   *      for await (const event of store.watch('build/log', { mode: 'append', waitCreate: true })) {
   *        if (event.type === 'append') process.stdout.write(event.data)
   *      }
   */
  watch(key: string, options: WatchOptions): Watching
}
