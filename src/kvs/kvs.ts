/** The store as its users see it: one interface, the same embedded (`kvs/store.ts`) and over a
 *  server (`client/`). See rfc/6. One contract suite (test/kvs/contract.ts) tests both.
 *  Invariant: an answer means durable; a reader sees one root at a time. */

import type { Blobref } from '../blob/blobref.js'
import type { TreeobjJson } from '../tree/json.js'
import type { Attrs, Treeobj } from '../tree/treeobj.js'
import type { Watching, WatchOptions } from './watching.js'

/** Always there. */
export const primary = 'primary'
/** Written only through operations of their own (jobs, cache, …), never by a transaction. */
export const reservedNamespaces: ReadonlySet<string> = new Set(['jobs', 'cache', 'flows', 'system'])

/** Bounds of one transaction and of what waits. Above: E2BIG, EBUSY at once, nothing lost. */
export const opsMax = 4_096
export const guardsMax = 1_024
/** Bytes of all values of one transaction; a put from a stream is not bounded. */
export const transactionSizeMax = 8 * 1024 * 1024
/** Transactions waiting in one namespace. */
export const waitingMax = 65_536
/** Bytes of values waiting in one namespace. */
export const waitingSizeMax = 64 * 1024 * 1024
/** Bytes that `get` returns at once; larger values: E2BIG, use `read`. */
export const getSizeMax = 256 * 1024 * 1024
/** Names on one page of `list`, blobrefs on one page of `treeobj`. */
export const pageMax = 10_000
export const pageDefault = 1_000
/** Keys in one `readMany`. */
export const readKeysMax = 1_024
/** Bytes of all values of one `readMany`. */
export const readSizeMax = 16 * 1024 * 1024

/** What a put stores: text is UTF-8. A stream is uploaded first, at most one blob in memory. */
export type Value = string | Uint8Array

export type Op =
  | {
      readonly op: 'put'
      readonly key: string
      readonly value: Value
      readonly contentType?: string
    }
  | { readonly op: 'append'; readonly key: string; readonly value: Value; readonly seal?: boolean }
  | { readonly op: 'seal'; readonly key: string }
  | { readonly op: 'unlink'; readonly key: string; readonly recursive?: boolean }
  | { readonly op: 'mkdir'; readonly key: string }
  | {
      readonly op: 'symlink'
      readonly key: string
      readonly target: string
      readonly namespace?: string
    }

/** `count` is in blobs; a missing key has none, a `val` counts as one. `seq` is the seq before this
 *  transaction. `ref` is the key's own (see Stat.ref). Guards follow links, as reads do. */
export type Guard =
  | { readonly key: string; readonly absent: true }
  | { readonly key: string; readonly ref: string }
  | { readonly key: string; readonly count: number }
  | { readonly seq: number }

export type Transaction = {
  readonly guards?: readonly Guard[]
  readonly ops: readonly Op[]
  /** A commit group of its own. */
  readonly noMerge?: boolean
}

/** In the order of the ops. `ref` and `count` are the key's after the op. */
export type OpResult = {
  /** put: the key's ref (see Stat.ref). */
  readonly ref?: Blobref
  /** append: index of its first blob, and the count after it. */
  readonly index?: number
  readonly count?: number
}

export type Committed = {
  readonly seq: number
  /** The root's ref. */
  readonly ref: Blobref
  readonly results: readonly OpResult[]
}

export type RootView = {
  readonly namespace: string
  readonly seq: number
  readonly ref: Blobref
  readonly incarnation: string
  readonly time: number
}

/** What is known of a key without reading its blobs. */
export type Stat = {
  readonly type: Treeobj['type']
  /** Names the key's whole content: equal refs, equal contents. For ETags and guards. */
  readonly ref: Blobref
  /** valref: blobs; val: 1; dir: keys below, at any depth; symlink: 0. */
  readonly count: number
  /** Bytes. */
  readonly size: number
  readonly sealed: boolean
  readonly attrs?: Attrs
  /** symlink only (with `nofollow`). */
  readonly target?: string
  readonly namespace?: string
  /** The seq of the root that was read. */
  readonly seq: number
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
  readonly size: number
}

export type Listing = {
  readonly entries: readonly ListEntry[]
  /** There is more: ask again `after` the last name. */
  readonly more: boolean
  readonly seq: number
}

/** `namespace` is `primary` if left out. */
export type Scope = {
  readonly namespace?: string
  readonly signal?: AbortSignal
}

/** `at` reads the retained root of the group that holds that seq (ECOMPACTED if it is no more
 *  retained, EINVAL if it is not there yet). `minSeq` waits until the namespace is there. */
export type ReadScope = Scope & {
  readonly at?: number
  readonly minSeq?: number
}

/** `index` reads one blob, `from` starts at a byte offset. */
export type ReadOptions = ReadScope & { readonly index?: number; readonly from?: number }

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

export type NamespaceView = {
  readonly name: string
  readonly incarnation: string
  readonly owner: string
  readonly created: number
  readonly seq: number
  readonly ref: Blobref
  /** Keys and bytes of the current tree. */
  readonly keys: number
  readonly size: number
}

export type CommitOptions = Scope & {
  /** The caller gives the bytes away: nobody writes to them again. Saves a copy of large ones. */
  readonly transfer?: boolean
}

export type PutOptions = Scope & {
  readonly contentType?: string
  /** Guards of the one-op transaction. */
  readonly guards?: readonly Guard[]
}

export type AppendOptions = CommitOptions & {
  readonly seal?: boolean
  readonly guards?: readonly Guard[]
}

/** What one op answers: the transaction's seq, the root's ref, and the op's own result. */
export type CommittedOp = { readonly seq: number; readonly ref: Blobref } & {
  readonly result: OpResult
}

export interface Kvs {
  /** Whole or not at all, durable when it resolves. Throws ECONFLICT (a guard; `failed` has the
   *  state), EISDIR, ENOTDIR, EEXIST, ENOTEMPTY, ESEALED, ELOOP, EPERM, EINVAL, E2BIG, EBUSY, ENONS,
   *  ENOSPC, EIO, EUNKNOWN (look before you send it again). */
  commit(transaction: Transaction, options?: CommitOptions): Promise<Committed>
  put(
    key: string,
    value: Value | AsyncIterable<Uint8Array>,
    options?: PutOptions,
  ): Promise<CommittedOp>
  append(key: string, value: Value, options?: AppendOptions): Promise<CommittedOp>

  /** Undefined where the key is not there. Throws EISDIR, E2BIG (above `getSizeMax`), ELOOP, ENONS. */
  get(key: string, options?: ReadScope): Promise<Uint8Array | undefined>
  /** The value as a stream. `index` reads one blob of it (ENOENT past the end); `from` starts at a
   *  byte offset. Undefined where the key is not there. */
  read(key: string, options?: ReadOptions): Promise<Reading | undefined>
  /** Undefined where the key is not there. `nofollow` stops at a link that is the last component. */
  stat(
    key: string,
    options?: ReadScope & { readonly nofollow?: boolean },
  ): Promise<Stat | undefined>
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

  namespaces(options?: { readonly signal?: AbortSignal }): Promise<NamespaceView[]>
  /** Throws EEXIST, EINVAL, EPERM (reserved). */
  createNamespace(name: string, options?: { readonly signal?: AbortSignal }): Promise<NamespaceView>
  /** Watchers end with ENONS. Throws ENONS, EPERM (`primary`, reserved). */
  removeNamespace(name: string, options?: { readonly signal?: AbortSignal }): Promise<void>

  /** See `WatchOptions`. Errors end the iteration: EOVERWRITTEN, ENOENT, EISDIR, ENONS, ECOMPACTED, … */
  watch(key: string, options: WatchOptions): Watching
}
