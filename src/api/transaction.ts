/** Transactions as their callers write them: ops, guards, what they answer, and their bounds. See
 *  rfc/6. Types only: `transaction.ts` checks them, `apply.ts` does them. */

import type { Blobref } from '../blob/blobref.js'
import type { Base } from '../tree/treeobj.js'

/** Bounds of one transaction and of what waits. Above: E2BIG, EBUSY at once, nothing lost. */
export const opsMax = 4_096
export const guardsMax = 1_024
/** Names (what stands between slashes) of the keys of all ops of a transaction: each may be a directory to make. */
export const keyNamesMax = 65_536
/** Bytes of all values of one transaction; a put from a stream is not bounded. */
export const transactionSizeMax = 8 * 1024 * 1024
/** Transactions waiting in one namespace. */
export const waitingMax = 65_536
/** Bytes of values waiting in one namespace. */
export const waitingSizeMax = 64 * 1024 * 1024

/** Bytes of a producer's id. */
export const producerIdSizeMax = 128
/** Producers that a key remembers: above, the least recently used one is forgotten. */
export const producersMax = 1_024
/** Appends of a producer whose `index` and `count` are remembered. */
export const producerResultsMax = 8

/** Bytes of an idempotency key. */
export const idempotencyKeySizeMax = 255
/** What is an idempotency key, for messages: it goes into a header. */
export const idempotencyKeyRule = `an idempotency key is 1 to ${idempotencyKeySizeMax} bytes of UTF-8 without control characters, and without blanks at its ends`
/** Answers that a namespace keeps, and their bytes: above, the oldest go. */
export const answersMax = 65_536
export const answersSizeMax = 64 * 1024 * 1024
/** A transaction is answered as it was for this long, by the wall clock. */
export const answerKeptMs = 3_600_000
/** And is known to have been committed for this long: EUNKNOWN says when. */
export const answerMarkMs = 7 * 24 * 3_600_000

/** `namespace` is `primary` if left out. */
export type Scope = {
  readonly namespace?: string
  readonly signal?: AbortSignal
}

/** What a put stores: text is UTF-8. A stream is uploaded first, at most one blob in memory. */
export type Value = string | Uint8Array

/** Who appends, so that an append that is sent again is appended once: `seq` counts the producer's
 *  appends to the key from 0; a higher `epoch` begins at 0 again and fences the lower ones. */
export type Producer = {
  /** 1 to `producerIdSizeMax` bytes of UTF-8, without `/` and NUL. */
  readonly id: string
  readonly epoch: number
  readonly seq: number
}

/** Fences what a holder of a lease writes late: the transaction that took the lease. */
export type Token = { readonly incarnation: string; readonly seq: number }

/** The server removes the key `ttl` ms after this write; with `sliding` each later append counts anew.
 *  A put without `ttl` ends an earlier one. */
export type Expiry = { readonly ttl?: number; readonly sliding?: boolean }

/** How much of a log is kept as it is appended to: the last blobs, the last bytes (the blob that holds the first
 *  of them whole), what is not older than so many ms (up to a minute late). Of several the one that keeps least
 *  counts. */
export type Cap = { readonly keep?: number; readonly keepBytes?: number; readonly keepAge?: number }

/** Without `cap` the log keeps the one that it has; null takes it away. A put ends an earlier one. */
export type Capping = { readonly cap?: Cap | null }

/** What a log drops from its head: blobs before an index; all but the last so many blobs; all but the
 *  last blobs that have so many bytes; what was there so many ms ago. */
export type TrimTo =
  | { readonly before: number }
  | { readonly keep: number }
  | { readonly keepBytes: number }
  | { readonly olderThan: number }

/** Where a copy comes from: the key `from` in `namespace` (default: the transaction's own), now, or at a
 *  retained root (its seq or its ref). */
export type Source = {
  readonly from: string
  readonly namespace?: string
  readonly at?: number | string
}

export type Op =
  | ({
      readonly op: 'put'
      readonly key: string
      readonly value: Value
      readonly contentType?: string
    } & Expiry &
      Capping)
  | ({
      readonly op: 'append'
      readonly key: string
      readonly value: Value
      readonly seal?: boolean
      readonly producer?: Producer
    } & Expiry &
      Capping)
  | { readonly op: 'seal'; readonly key: string }
  | ({ readonly op: 'trim'; readonly key: string } & TrimTo)
  | { readonly op: 'unlink'; readonly key: string; readonly recursive?: boolean }
  | { readonly op: 'mkdir'; readonly key: string }
  | {
      readonly op: 'symlink'
      readonly key: string
      readonly target: string
      readonly namespace?: string
    }
  /** A value, a log or a directory, by reference: its size does not matter. With `replace` a directory
   *  that is in the way goes; without it EISDIR, unless it is empty. */
  | ({ readonly op: 'copy'; readonly key: string; readonly replace?: boolean } & Source)
  /** The same, and the source is gone. Its `at` would mean nothing. */
  | ({ readonly op: 'move'; readonly key: string; readonly replace?: boolean } & Omit<Source, 'at'>)
  /** The first `count` blobs of a log, not sealed. */
  | ({ readonly op: 'fork'; readonly key: string; readonly count: number } & Source)
  /** Makes a key (`/`: all of them) what it was at a retained root: removed if it was not there. */
  | { readonly op: 'restore'; readonly key: string; readonly at: number | string }
  /** A treeobj as RFC 11 JSON has it (`TreeobjJson`, all refs of a valref). With `dangling` (the owner
   *  only) it may name blobs that are not there. */
  | {
      readonly op: 'treeobj'
      readonly key: string
      readonly treeobj: unknown
      readonly dangling?: boolean
    }
  | ({ readonly op: 'lease'; readonly key: string } & LeaseAction)

/** `ttl` in ms. `owner` is a text for people, at most `leaseOwnerSizeMax` bytes. */
export type LeaseAction =
  | { readonly action: 'take'; readonly ttl: number; readonly owner?: string }
  | { readonly action: 'renew'; readonly token: Token; readonly ttl?: number }
  | { readonly action: 'release'; readonly token: Token }

/** `count` is in blobs; a missing key has none, a `val` counts as one. `seq` is the seq before this
 *  transaction. `ref` is the key's own (see Stat.ref). Guards follow links, as reads do. */
export type Guard =
  | { readonly key: string; readonly absent: true }
  | { readonly key: string; readonly ref: string }
  | { readonly key: string; readonly count: number }
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

export type Transaction = {
  readonly guards?: readonly Guard[]
  readonly ops: readonly Op[]
  /** A commit group of its own. */
  readonly noMerge?: boolean
}

/** In the order of the ops. `ref` and `count` are the key's after the op. */
export type OpResult = {
  /** put, copy, fork, move, restore, treeobj: the key's ref (see Stat.ref); absent where a restore removed. */
  readonly ref?: Blobref
  /** append: index of its first blob, and the count after it. */
  readonly index?: number
  readonly count?: number
  /** append with a producer: it was there already. `index` and `count` are those of then, as long as they
   *  are remembered (`producerResultsMax`). */
  readonly repeated?: true
  /** lease: take, renew. */
  readonly token?: Token
  /** trim: what is gone now. */
  readonly base?: Base
}

export type Committed = {
  readonly seq: number
  /** The root's ref. */
  readonly ref: Blobref
  readonly results: readonly OpResult[]
  /** The answer of a transaction that was committed before under the same Idempotency-Key. */
  readonly repeated?: true
}

/** What one op answers: the transaction's seq, the root's ref, and the op's own result. */
export type CommittedOp = Omit<Committed, 'results'> & { readonly result: OpResult }
