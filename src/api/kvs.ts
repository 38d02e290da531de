/** The store as its users see it: one interface, the same embedded (`kvs/store.ts`) and over a
 *  server (`client/`). See rfc/6. One contract suite (test/kvs/contract.ts) tests both.
 *  Invariant: an answer means durable; a reader sees one root at a time. */

import type { Blobref } from '../blob/blobref.js'
import type { TreeobjJson } from '../tree/json.js'
import type { Attrs, Base, Treeobj } from '../tree/treeobj.js'
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

/** Bytes that `get` returns at once; larger values: E2BIG, use `read`. */
export const getSizeMax = 256 * 1024 * 1024
/** Names on one page of `list`, blobrefs on one page of `treeobj`. */
export const pageMax = 10_000
export const pageDefault = 1_000
/** Keys in one `readMany`. */
export const readKeysMax = 1_024
/** Bytes of all values of one `readMany`. */
export const readSizeMax = 16 * 1024 * 1024

/** What is known of a key without reading its blobs. */
export type Stat = {
  readonly type: Treeobj['type']
  /** Names the key's whole content: equal refs, equal contents. For ETags and guards. */
  readonly ref: Blobref
  /** valref: blobs; val: 1; dir: keys below, at any depth; symlink: 0. */
  readonly count: number
  /** Bytes, those that a trim dropped included. */
  readonly size: number
  readonly sealed: boolean
  /** What a trim dropped from the head of a log; absent where nothing was. */
  readonly base?: Base
  readonly attrs?: Attrs
  /** When the key goes by itself (wall clock, ms since 1970); `stat` of a key of the
   *  namespace itself, at its newest root. */
  readonly expires?: number
  /** How much of a log is kept as it is appended to; where `expires` is told, too. */
  readonly cap?: Cap
  /** symlink only (with `nofollow`). */
  readonly target?: string
  readonly namespace?: string
  /** The seq of the root that was read. */
  readonly seq: number
}

export type RootView = {
  readonly namespace: string
  readonly seq: number
  readonly ref: Blobref
  readonly incarnation: string
  readonly time: number
}

/** One value at one root. `chunks` loads as it is consumed; iterate it at most once. */
export type Reading = {
  readonly stat: Stat
  readonly chunks: AsyncIterable<Uint8Array>
}

export type ListEntry = {
  /** The name, or with `recursive` the key relative to the listed directory. */
  readonly name: string
  readonly type: Treeobj['type']
  readonly count: number
  /** Bytes, without those that a trim dropped. */
  readonly size: number
}

export type Listing = {
  readonly entries: readonly ListEntry[]
  /** There is more: ask again `after` the last name. */
  readonly more: boolean
  readonly seq: number
}

/** `at` reads the retained root of the group that holds that seq (ECOMPACTED if it is no more
 *  retained, EINVAL if it is not there yet), or the retained or pinned root with that ref (ECOMPACTED
 *  if there is none). `minSeq` waits until the namespace is there. */
export type ReadScope = Scope & {
  readonly at?: number | string
  readonly minSeq?: number
}

/** `index` reads one blob; `from` starts at a byte offset, `to` ends before one. Below the base of a
 *  trimmed log: ECOMPACTED, `failed.state.base` says where it begins. */
export type ReadOptions = ReadScope & {
  readonly index?: number
  readonly from?: number
  readonly to?: number
}

/** `nofollow` stops at a link that is the last component. */
export type StatOptions = ReadScope & { readonly nofollow?: boolean }

/** Refs after this index, at most `limit` (`pageMax`) of them. */
export type TreeobjOptions = ReadScope & { readonly after?: number; readonly limit?: number }

/** Names after this one, at most `limit` (`pageMax`) of them. */
export type ListOptions = ReadScope & {
  readonly after?: string
  readonly limit?: number
  readonly recursive?: boolean
}

/** `idempotencyKey` (1 to 255 bytes): the same transaction sent again under it is answered as it was
 *  the first time, not done again; another one is EINVAL; one whose answer is no more kept is EUNKNOWN. */
export type CommitOptions = Scope & {
  /** The caller gives the bytes away: nobody writes to them again. Saves a copy of large ones. */
  readonly transfer?: boolean
  readonly idempotencyKey?: string
  /** A client sends it again, under an `idempotencyKey`, until it is answered or the signal ends it:
   *  it lands once. Where the store is embedded nothing can get lost on the way. */
  readonly exactlyOnce?: boolean
}

export type PutOptions = Omit<CommitOptions, 'transfer'> &
  Expiry &
  Capping & {
    readonly contentType?: string
    /** Guards of the one-op transaction. */
    readonly guards?: readonly Guard[]
  }

export type AppendOptions = CommitOptions &
  Expiry &
  Capping & {
    readonly seal?: boolean
    readonly producer?: Producer
    readonly guards?: readonly Guard[]
  }

/** `id`: a new one if left out. `epoch`: above all that the producer had (`next`, the default), or one that
 *  nobody else has; ECONFLICT where somebody has. `signal` of the opening alone. */
export type ProducerOptions = Scope & { readonly id?: string; readonly epoch?: number | 'next' }

/** With `signal` the caller stops waiting; the append goes its way. */
export type ProducerAppendOptions = { readonly seal?: boolean; readonly signal?: AbortSignal }

/** Numbers the appends of one producer to one key, sends them in order and again until they are answered:
 *  each lands once. Its first append fences who appends with a lower epoch. An error ends it, EFENCED too:
 *  later appends are refused with the same; open another one. Disposed of, it sends nothing more. */
export interface AppendProducer extends AsyncDisposable {
  readonly id: string
  readonly key: string
  /** May become a higher one with the first append, where others open the same producer. */
  readonly epoch: number
  /** Appends that were answered. */
  readonly next: number
  /** Does not wait for the ones before. Throws EBUSY (too many wait), E2BIG, ESEALED, EFENCED, ECONFLICT
   *  (the value was replaced), ECLOSED, and as `Kvs.append`. */
  append(value: Value, options?: ProducerAppendOptions): Promise<CommittedOp>
}

/** Keys, and the parts of the store that look after them. */
export interface Kvs {
  /** Retained roots, differences, pins. */
  readonly history: History
  readonly namespaces: Namespaces
  /** Collection, export, import, usage. */
  readonly upkeep: Upkeep
  /** Blobs by their own names. */
  readonly blobs: Blobs

  /** Whole or not at all, durable when it resolves. Throws ECONFLICT (a guard; `failed` has the
   *  state), EISDIR, ENOTDIR, EEXIST, ENOTEMPTY, ESEALED, ELOOP, EPERM, EINVAL, E2BIG, EBUSY, ENONS,
   *  ENOSPC, EIO, EUNKNOWN (look before you send it again). */
  commit(transaction: Transaction, options?: CommitOptions): Promise<Committed>
  /** Makes the key this value, whatever it was; directories above it are made. Text is UTF-8. A stream of any size
   *  is uploaded first, and is the value once it has ended well. Throws as `commit`, and what the stream throws. */
  put(
    key: string,
    value: Value | AsyncIterable<Uint8Array>,
    options?: PutOptions,
  ): Promise<CommittedOp>
  /** Adds one blob (above 262,120 bytes several, marked `more`) to the end of the key, which is made if it is not
   *  there. `result.index` is where it begins, `result.count` how many there are then. With `seal` it is the last.
   *  Throws as `commit`: ESEALED, EISDIR, … */
  append(key: string, value: Value, options?: AppendOptions): Promise<CommittedOp>
  /** Appends that are numbered, kept in order, and land once each. Throws as `commit`. */
  producer(key: string, options?: ProducerOptions): Promise<AppendProducer>

  /** Undefined where the key is not there. Throws EISDIR, E2BIG (above `getSizeMax`), ELOOP, ENONS. */
  get(key: string, options?: ReadScope): Promise<Uint8Array | undefined>
  /** The value as a stream. `index` reads one blob of it (ENOENT past the end); `from` and `to` are byte
   *  offsets. Undefined where the key is not there. Throws ECOMPACTED (below a log's base). */
  read(key: string, options?: ReadOptions): Promise<Reading | undefined>
  /** Undefined where the key is not there. `nofollow` stops at a link that is the last component. */
  stat(
    key: string,
    options?: ReadScope & { readonly nofollow?: boolean },
  ): Promise<Stat | undefined>
  /** The treeobj at the key, as RFC 11 JSON, a page of refs at a time. Undefined where the key is not there. */
  treeobj(key: string, options?: TreeobjOptions): Promise<TreeobjJson | undefined>
  /** In UTF-8 byte order of the names. Throws ENOENT, ENOTDIR. */
  list(key: string, options?: ListOptions): Promise<Listing>
  /** Many values at one root; undefined where missing. Each at most `blobSizeMax` bytes, all
   *  together `readSizeMax`, else E2BIG. */
  readMany(
    keys: readonly string[],
    options?: ReadScope,
  ): Promise<{ readonly seq: number; readonly values: readonly (Uint8Array | undefined)[] }>

  /** `waitSeq` waits until the namespace is there. Throws ENONS. */
  root(options?: Scope & { readonly waitSeq?: number }): Promise<RootView>

  /** See `WatchOptions`. Errors end the iteration: EOVERWRITTEN, ENOENT, EISDIR, ENONS, ECOMPACTED, … */
  watch(key: string, options: WatchOptions): Watching
}

/** A value and what is known of it, both at one root: `stat.ref` names it for a guard. */
export type Entry = { readonly value: Uint8Array; readonly stat: Stat }

export type UpdateOptions = Omit<PutOptions, 'guards' | 'idempotencyKey' | 'exactlyOnce'>
