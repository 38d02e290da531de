/** Transactions as their callers write them: ops, guards, what they answer, and their bounds. See rfc/6. A bound that is
 *  exceeded is E2BIG, or EBUSY where too much waits: at once, and nothing is done. */

import type { Blobref } from '../blob/blobref.js'
import type { Base } from '../tree/treeobj.js'

/** Ops of one transaction. */
export const opsMax = 4_096
/** Guards of one transaction. */
export const guardsMax = 1_024
/** Names (what stands between slashes) of the keys of all ops of a transaction: each may be a directory to make. */
export const keyNamesMax = 65_536
/** Bytes of all values of one transaction. A put from a stream is not bounded. */
export const transactionSizeMax = 8 * 1024 * 1024
/** Transactions that wait in one namespace. */
export const waitingMax = 65_536
/** Bytes of values that wait in one namespace. */
export const waitingSizeMax = 64 * 1024 * 1024

/** Bytes of a producer's id. */
export const producerIdSizeMax = 128
/** Producers that a key remembers: above, the least recently used one is forgotten. */
export const producersMax = 1_024
/** Appends of a producer whose `index` and `count` are remembered. */
export const producerResultsMax = 8

/** Bytes of an idempotency key. */
export const idempotencyKeySizeMax = 255
/** The form of an idempotency key, for messages: it goes into a header. */
export const idempotencyKeyRule = `an idempotency key is 1 to ${idempotencyKeySizeMax} bytes of UTF-8 without control characters, and without blanks at its ends`
/** Answers that a namespace keeps: above, the oldest go. */
export const answersMax = 65_536
/** Bytes of the answers that a namespace keeps: above, the oldest go. */
export const answersSizeMax = 64 * 1024 * 1024
/** For so long a transaction that is sent again is answered as it was, by the wall clock, ms. */
export const answerKeptMs = 3_600_000
/** For so long it is known that a transaction was committed, ms: EUNKNOWN says when. */
export const answerMarkMs = 7 * 24 * 3_600_000

/** Where, and for how long. */
export type Scope = {
  /** Default: `primary`. */
  readonly namespace?: string
  /** Ends the wait: ECANCELED, or ETIMEDOUT where its time ran out. What was sent may still be done. */
  readonly signal?: AbortSignal
}

/** What is stored. Text is UTF-8. */
export type Value = string | Uint8Array

/** Who appends, so that an append that is sent again lands once. */
export type Producer = {
  /** 1 to `producerIdSizeMax` bytes of UTF-8, without `/` and NUL. */
  readonly id: string
  /** A higher one begins at `seq` 0 again, and fences the lower ones. */
  readonly epoch: number
  /** Appends of this producer to this key before this one. */
  readonly seq: number
}

/** Names one holding of a lease: the transaction that took it. Fences what a holder writes late. */
export type Token = {
  /** Of the namespace's life. */
  readonly incarnation: string
  readonly seq: number
}

/** When a key is removed by itself. */
export type Expiry = {
  /** So long after this write, ms, 1 to ten years. A put without it ends an earlier expiry. */
  readonly ttl?: number
  /** With `ttl`: each later append counts anew. */
  readonly sliding?: boolean
}

/** How much of a log is kept as it is appended to. Of several bounds the one that keeps least counts. */
export type Cap = {
  /** The last so many blobs. */
  readonly keep?: number
  /** The last so many bytes; the blob that holds the first of them whole. */
  readonly keepBytes?: number
  /** What is not older than so many ms, up to a minute late. */
  readonly keepAge?: number
}

/** Whether the cap of a log changes. */
export type Capping = {
  /** Left out: a log keeps the cap that it has. null takes it away. A put ends an earlier one. */
  readonly cap?: Cap | null
}

/** What a log drops from its head. */
export type TrimTo =
  /** Blobs before this index. */
  | { readonly before: number }
  /** All but the last so many blobs. */
  | { readonly keep: number }
  /** All but the last blobs that have so many bytes. */
  | { readonly keepBytes: number }
  /** What was there so many ms ago. */
  | { readonly olderThan: number }

/** Where a copy comes from. */
export type Source = {
  readonly from: string
  /** Default: the transaction's own. */
  readonly namespace?: string
  /** The seq or the ref of a retained root. Default: now. */
  readonly at?: number | string
}

/** One change of a transaction. Ops are applied in order; each sees what those before it did. */
export type Op =
  /** Makes the key this value. */
  | ({
      readonly op: 'put'
      readonly key: string
      readonly value: Value
      readonly contentType?: string
    } & Expiry &
      Capping)
  /** Adds a blob to the end of a log, which is made if it is not there. */
  | ({
      readonly op: 'append'
      readonly key: string
      readonly value: Value
      readonly seal?: boolean
      readonly producer?: Producer
    } & Expiry &
      Capping)
  /** Ends a log: nothing can be appended any more. */
  | { readonly op: 'seal'; readonly key: string }
  /** Drops the head of a log. Indices and offsets stay. */
  | ({ readonly op: 'trim'; readonly key: string } & TrimTo)
  /** Removes a key; with `recursive` a directory that is not empty, too. A key that is not there is no error. */
  | { readonly op: 'unlink'; readonly key: string; readonly recursive?: boolean }
  /** Makes a directory, and those above it. */
  | { readonly op: 'mkdir'; readonly key: string }
  /** Makes a link to a key, there or not. */
  | {
      readonly op: 'symlink'
      readonly key: string
      readonly target: string
      readonly namespace?: string
    }
  /** Copies a value, a log or a directory by reference: its size does not matter. With `replace` a directory that is in
   *  the way goes; without it EISDIR, unless it is empty. */
  | ({ readonly op: 'copy'; readonly key: string; readonly replace?: boolean } & Source)
  /** Like copy, and the source is gone. */
  | ({ readonly op: 'move'; readonly key: string; readonly replace?: boolean } & Omit<Source, 'at'>)
  /** A new log with the first `count` blobs of another one, not sealed. */
  | ({ readonly op: 'fork'; readonly key: string; readonly count: number } & Source)
  /** Makes a key (`/`: all of them) what it was at a retained root; removed if it was not there. */
  | { readonly op: 'restore'; readonly key: string; readonly at: number | string }
  /** Stores a treeobj as Flux's RFC 11 has it in JSON (`TreeobjJson`, all refs of a valref). With `dangling` (for the
   *  owner only) it may name blobs that are not there. */
  | {
      readonly op: 'treeobj'
      readonly key: string
      readonly treeobj: unknown
      readonly dangling?: boolean
    }
  /** Takes, renews or releases the lease of a key, there or not. See rfc/9. */
  | ({ readonly op: 'lease'; readonly key: string } & LeaseAction)

/** What is done with a lease. */
export type LeaseAction =
  /** Throws ECONFLICT where it is held. `ttl`: ms, 1 to a day. `owner`: a text for people, at most 256 bytes. */
  | { readonly action: 'take'; readonly ttl: number; readonly owner?: string }
  /** Throws EFENCED where it is not held with that token. Without `ttl` that of before counts. */
  | { readonly action: 'renew'; readonly token: Token; readonly ttl?: number }
  /** Throws EFENCED where it is not held with that token. */
  | { readonly action: 'release'; readonly token: Token }

/** A condition of a transaction, judged at the root that it is applied to. Guards follow links, as reads do. */
export type Guard =
  /** The key is not there. */
  | { readonly key: string; readonly absent: true }
  /** The key has this ref (see `Stat.ref`). */
  | { readonly key: string; readonly ref: string }
  /** The log has so many blobs; a missing key has none, a small value that was put counts as one. */
  | { readonly key: string; readonly count: number }
  /** Nothing was committed in the namespace since this seq. */
  | { readonly seq: number }
  /** The key's lease is held with this token. */
  | { readonly lease: string; readonly token: Token }
  /** The producer's next append to the key would be this one. */
  | {
      readonly key: string
      readonly producer: string
      readonly epoch: number
      readonly next: number
    }

/** Changes that are made together, and the conditions under which. */
export type Transaction = {
  /** All must hold, else nothing is done. At most `guardsMax`. */
  readonly guards?: readonly Guard[]
  /** At most `opsMax`. */
  readonly ops: readonly Op[]
  /** Makes a root of its own, even where others are committed beside it. */
  readonly noMerge?: boolean
}

/** What one op did. `ref` and `count` are the key's after the op. */
export type OpResult = {
  /** put, copy, fork, move, restore, treeobj: the key's ref (see `Stat.ref`); absent where a restore removed it. */
  readonly ref?: Blobref
  /** append: the index of its first blob. */
  readonly index?: number
  /** append: blobs of the log after it. */
  readonly count?: number
  /** append with a producer: it was there already. `index` and `count` are those of then, as long as they are
   *  remembered (`producerResultsMax`). */
  readonly repeated?: true
  /** lease: take and renew. */
  readonly token?: Token
  /** trim: what is gone now. */
  readonly base?: Base
}

/** What a transaction answers. */
export type Committed = {
  /** Of the transaction. Transactions that are committed together have one root, and a seq each. */
  readonly seq: number
  /** The root's ref. */
  readonly ref: Blobref
  /** In the order of the ops. */
  readonly results: readonly OpResult[]
  /** This is the answer of a transaction that was committed before under the same idempotency key. */
  readonly repeated?: true
}

/** What a transaction of one op answers. */
export type CommittedOp = Omit<Committed, 'results'> & { readonly result: OpResult }
