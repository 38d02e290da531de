/** Transactions: their ops, guards, answers and bounds. See rfc/6. A transaction that exceeds a
 *  bound is refused at once: with E2BIG, or with EBUSY where too much waits. */

import type { Blobref } from '../blob/blobref.js'
import type { Base } from '../treeobj/treeobj.js'

/** The largest number of ops in a transaction. */
export const opsMax = 4_096
/** The largest number of guards in a transaction. */
export const guardsMax = 1_024
/** The largest number of names, the parts between slashes, in the keys of all ops of a transaction:
 *  each may be a directory to make. */
export const keyNamesMax = 65_536
/** The largest size of all values of a transaction, in bytes. A put from a stream
 *  has no such bound. */
export const transactionSizeMax = 8 * 1024 * 1024
/** The largest number of transactions that wait in a namespace. */
export const waitingMax = 65_536
/** The largest size of what waits in a namespace, in bytes: values, names, 1 KiB for each transaction
 *  and 256 bytes for each op and guard. Where several namespaces are busy, each has less. */
export const waitingSizeMax = 64 * 1024 * 1024

/** The largest size of a producer's id, in bytes. */
export const producerIdSizeMax = 128
/** The largest number of producers that a key knows. Above it, the least recently used
 *  one is forgotten. */
export const producersMax = 1_024
/** The number of a producer's last appends whose `index` and `count` are kept. */
export const producerResultsMax = 8

/** The largest size of an idempotency key, in bytes. */
export const idempotencyKeySizeMax = 255
/** The rule for an idempotency key, for messages. A key must fit into a header of HTTP. */
export const idempotencyKeyRule = `an idempotency key is 1 to ${idempotencyKeySizeMax} bytes of UTF-8 without control characters, and without blanks at its ends`
/** The largest number of answers that a namespace keeps. Above it, the oldest are dropped. */
export const answersMax = 65_536
/** The largest size of the answers that a namespace keeps, in bytes. Above it, the
 *  oldest are dropped. */
export const answersSizeMax = 64 * 1024 * 1024
/** The time, in ms (wall clock), for which a transaction that is sent again gets its first
 *  answer. */
export const answerKeptMs = 3_600_000
/** The time, in ms (wall clock), for which it is known that a transaction was committed: EUNKNOWN
 *  then says its seq. */
export const answerMarkMs = 7 * 24 * 3_600_000

/** The options that most calls have. */
export type Scope = {
  /** The namespace. Default: `primary`. */
  readonly namespace?: string
  /** Ends the wait with ECANCELED, or ETIMEDOUT where its time ran out. A write that was sent may
   *  still be done. */
  readonly signal?: AbortSignal
}

/** A value. Text is stored as UTF-8. */
export type Value = string | Uint8Array

/** The producer of an append, so that an append that is sent again is done once. */
export type Producer = {
  /** The id, 1 to `producerIdSizeMax` bytes of UTF-8 without `/` and NUL, and not `.` or `..`. */
  readonly id: string
  /** The epoch. A higher one begins at `seq` 0 again, and fences the lower ones. */
  readonly epoch: number
  /** The number of this append: the count of the producer's appends to the key before
   *  it, in this epoch. */
  readonly seq: number
}

/** A fencing token, which names one holding of a lease by the transaction that took it. It fences
 *  late writes of its holder. */
export type Token = {
  /** The incarnation of the namespace. */
  readonly incarnation: string
  /** The seq of the transaction that took the lease. */
  readonly seq: number
}

/** The expiry of a key: the time after which the store removes it. */
export type Expiry = {
  /** The time from this write on, in ms, 1 to ten years. A put without it ends an earlier
   *  expiry. */
  readonly ttl?: number
  /** True if the `ttl` counts anew from each later append. Only with `ttl`. */
  readonly sliding?: boolean
}

/** The bounds that appends keep a log within. Of several bounds the one that keeps least counts. */
export type Cap = {
  /** The number of last blobs to keep. */
  readonly keep?: number
  /** The number of last bytes to keep. The blob that holds the first of them is kept whole. */
  readonly keepBytes?: number
  /** The age, in ms, above which blobs are dropped, up to a minute late. */
  readonly keepAge?: number
}

/** The option of a write that changes the cap of a log. */
export type Capping = {
  /** The new cap; null takes it away. If it is left out, an append keeps the cap,
   *  and a put ends it. */
  readonly cap?: Cap | null
}

/** The part that a trim drops from the head of a log. */
export type TrimTo =
  /** Drops the blobs before this index. */
  | { readonly before: number }
  /** Drops all blobs except this number of last ones. */
  | { readonly keep: number }
  /** Drops all blobs except the last ones that have this number of bytes. */
  | { readonly keepBytes: number }
  /** Drops the blobs that are older than this, in ms. */
  | { readonly olderThan: number }

/** The source of a copy. */
export type Source = {
  /** The key to copy from. */
  readonly from: string
  /** The namespace of that key. Default: the transaction's own. */
  readonly namespace?: string
  /** The seq or ref of a retained root to copy from. Default: the state that the op meets. */
  readonly at?: number | string
}

/** One change of a transaction. Ops are applied in order; each sees the changes of those before
 *  it. */
export type Op =
  /** Puts a value at a key. */
  | ({
      readonly op: 'put'
      readonly key: string
      readonly value: Value
      readonly contentType?: string
    } & Expiry &
      Capping)
  /** Appends a value to a log, which is made if it is not there. */
  | ({
      readonly op: 'append'
      readonly key: string
      readonly value: Value
      readonly seal?: boolean
      readonly producer?: Producer
    } & Expiry &
      Capping)
  /** Seals a log: nothing can be appended any more. */
  | { readonly op: 'seal'; readonly key: string }
  /** Drops the head of a log. Indices and offsets of the other blobs stay. */
  | ({ readonly op: 'trim'; readonly key: string } & TrimTo)
  /** Removes a key; with `recursive` also a directory that is not empty. A missing key is no
   *  error. */
  | { readonly op: 'unlink'; readonly key: string; readonly recursive?: boolean }
  /** Makes a directory, and the directories above it. */
  | { readonly op: 'mkdir'; readonly key: string }
  /** Makes a link to a key, which need not exist. */
  | {
      readonly op: 'symlink'
      readonly key: string
      readonly target: string
      readonly namespace?: string
    }
  /** Copies a value, a log or a directory by reference, at the same cost for any size. A directory
   *  with keys at the target is EISDIR, unless `replace`. */
  | ({ readonly op: 'copy'; readonly key: string; readonly replace?: boolean } & Source)
  /** Copies a key, and removes the source. */
  | ({ readonly op: 'move'; readonly key: string; readonly replace?: boolean } & Omit<Source, 'at'>)
  /** Makes a log of the first `count` blobs of another one. It is not sealed. */
  | ({ readonly op: 'fork'; readonly key: string; readonly count: number } & Source)
  /** Makes a key what it was at a retained root, and removes it if it was not there. `/` is
   *  the whole tree. */
  | { readonly op: 'restore'; readonly key: string; readonly at: number | string }
  /** Stores a treeobj in JSON as in Flux's RFC 11 (`TreeobjJson`, with all refs of a valref). With
   *  `dangling`, which only the owner may say, it may name blobs that are not stored. */
  | {
      readonly op: 'treeobj'
      readonly key: string
      readonly treeobj: unknown
      readonly dangling?: boolean
    }
  /** Takes, renews or releases the lease of a key, which need not exist. See rfc/9. */
  | ({ readonly op: 'lease'; readonly key: string } & LeaseAction)

/** The action of a lease op. */
export type LeaseAction =
  /** Takes the lease for `ttl` ms, 1 to a day. `owner` is a text for people of at most 256 bytes.
   *  `takeId` names this take, 1 to 64 bytes: if the transaction is sent again and has no other op,
   *  it is answered as the first time while that holding lasts. `ifAbsent` takes it only where the
   *  key is not there. Throws ECONFLICT where it is held, or the key is there; an `optional` take does
   *  nothing then, its result says why, and the transaction goes on. Sent again under its `takeId`,
   *  an optional take gets the token of the holding that it has. */
  | {
      readonly action: 'take'
      readonly ttl: number
      readonly owner?: string
      readonly takeId?: string
      readonly ifAbsent?: boolean
      readonly optional?: boolean
    }
  /** Renews the lease, for the same `ttl` as before if none is given. Throws EFENCED where it is
   *  not held with that token. */
  | { readonly action: 'renew'; readonly token: Token; readonly ttl?: number }
  /** Releases the lease. Throws EFENCED where it is not held with that token. */
  | { readonly action: 'release'; readonly token: Token }

/** A condition that must hold where the transaction is applied. Guards follow links, as reads
 *  do. */
export type Guard =
  /** Holds if the key is not there. */
  | { readonly key: string; readonly absent: true }
  /** Holds if the key has this ref (see `Stat.ref`). */
  | { readonly key: string; readonly ref: string }
  /** Holds if the key has this number of blobs. A missing key has none, a small value that
   *  was put has one. */
  | { readonly key: string; readonly count: number }
  /** Holds if the namespace is at this seq: nothing was committed since. */
  | { readonly seq: number }
  /** Holds if the key's lease is held with this token. */
  | { readonly lease: string; readonly token: Token }
  /** Holds if an append with this epoch and number would be the producer's next one to the key. */
  | {
      readonly key: string
      readonly producer: string
      readonly epoch: number
      readonly next: number
    }

/** Ops and guards that are applied together or not at all. */
export type Transaction = {
  /** The guards, at most `guardsMax`. All must hold, else nothing is done. */
  readonly guards?: readonly Guard[]
  /** The ops, at most `opsMax`. */
  readonly ops: readonly Op[]
  /** True to make a root for this transaction alone, not one that it shares with others. */
  readonly noMerge?: boolean
}

/** The result of one op. */
export type OpResult = {
  /** put, copy, fork, move, restore, treeobj: the key's ref (see `Stat.ref`); absent where a
   *  restore removed the key. */
  readonly ref?: Blobref
  /** append: the index of its first blob. */
  readonly index?: number
  /** append, seal, trim, fork: the number of blobs of the log after the op, those that a trim
   *  dropped included. */
  readonly count?: number
  /** append with a producer: true if it was done before. `index` and `count` are those of then, if
   *  they are still kept (`producerResultsMax`). */
  readonly repeated?: true
  /** lease, take and renew: the fencing token. */
  readonly token?: Token
  /** trim: the blobs and bytes that the log has dropped so far. */
  readonly base?: Base
  /** lease, an optional take that was refused: why. */
  readonly refused?: TakeRefusal
}

/** The reason why an optional take did nothing: the lease that is held, or that the key is there. */
export type TakeRefusal = {
  readonly lease?: {
    readonly key: string
    readonly token: Token
    readonly ttl: number
    readonly owner?: string
  }
  readonly present?: true
}

/** The answer of a transaction. */
export type Committed = {
  /** The seq of the transaction. Transactions that are committed together have one root,
   *  and a seq each. */
  readonly seq: number
  /** The ref of the root. */
  readonly ref: Blobref
  /** The results in the order of the ops. */
  readonly results: readonly OpResult[]
  /** True if this is the answer of a transaction that was committed before under the same
   *  idempotency key. */
  readonly repeated?: true
}

/** The answer of a transaction of one op. */
export type CommittedOp = Omit<Committed, 'results'> & { readonly result: OpResult }
