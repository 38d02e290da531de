/** A commit group while it is made: the state that its transactions share, and the work of one
 *  transaction. See rfc/17.
 *  Invariant: `changed` and `appended` of a group name only the keys of
 *  transactions that were applied. */

import type { OpResult } from '../api/transaction.js'
import type { LoopSlice } from '../base/loop-slice.js'
import type { Blob } from '../blob/blob.js'
import type { Nodes, NodeWriter } from '../tree/nodes.js'
import type { Key } from '../treeobj/key.js'
import type { Dir, Views } from '../treeobj/treeobj.js'
import type { Draft } from './draft.js'

/** Returns a tree to copy from: the newest one of a namespace, as it was when the group began, or
 *  that of a retained root. Throws ENONS, ECOMPACTED, EINVAL. */
type Sources = (namespace: string | undefined, at: number | string | undefined) => Promise<Dir>

/** The state that the transactions of a group share. Mutable; owned by the
 *  commit loop of its namespace. */
export type DraftGroup = {
  readonly namespace: string
  readonly incarnation: string
  /** The wall-clock time at which the group began, in ms since 1970. */
  readonly now: number
  readonly draft: Draft
  /** The draft of what the namespace knows besides its keys (leases, producers,
   *  answers, expiry): see `meta.ts`. */
  readonly meta: Draft
  readonly sources: Sources
  readonly nodes: Nodes
  readonly writer: NodeWriter
  readonly views: Views
  /** The groups, by namespace, that are committed together with this one or not at all: see
   *  `commit/alone.ts`. */
  readonly others?: ReadonlyMap<string, DraftGroup>
  /** The keys that applied transactions changed. */
  readonly changed: Set<Key>
  /** The keys that applied transactions appended to. Breaking one of them would hide its appends
   *  from watchers (see `breaks.ts`). */
  readonly appended: Set<Key>
  /** The slice that lets the event loop turn while the group is made. Nobody else
   *  moves the root meanwhile. */
  readonly slice: LoopSlice
}

/** The work of one transaction. Only the transaction that is being applied writes it; it is dropped
 *  if the transaction fails. */
export type Work = {
  /** The seq before the transaction. */
  readonly seq: number
  /** The results of the ops so far, in their order. */
  readonly results: OpResult[]
  /** Resolved keys that changed. */
  readonly changed: Key[]
  /** Resolved keys whose logs grew or were sealed. */
  readonly appended: Key[]
  /** Resolved keys that were written and may have a cap; undefined if there are none. */
  capped: Set<Key> | undefined
  /** The number of leases that were taken, minus those that ended. */
  leases: number
  /** Blobs that the ops made. */
  readonly blobs: Blob[]
  /** Functions to call once the group is durable, before its answers. They do not throw. */
  readonly effects: (() => void)[]
}

/** Returns the empty work of a transaction. `seq` is the one before it. */
export function newWork(seq: number): Work {
  return {
    seq,
    results: [],
    changed: [],
    appended: [],
    capped: undefined,
    leases: 0,
    blobs: [],
    effects: [],
  }
}
