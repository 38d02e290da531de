/** A commit group while it is made: what its transactions share, and what one of them does to it. See rfc/17.
 *  Invariant: `changed` and `appended` name only what transactions did that were applied. */

import type { OpResult } from '../api/transaction.js'
import type { LoopSlice } from '../base/loop-slice.js'
import type { Blob } from '../blob/blob.js'
import type { Key } from '../tree/key.js'
import type { Nodes, NodeWriter } from '../tree/nodes.js'
import type { Dir, Views } from '../tree/treeobj.js'
import type { Draft } from './draft.js'

/** Trees to copy from: a namespace's newest one as this group has it when it begins, or that of a retained
 *  root. Throws ENONS, ECOMPACTED, EINVAL. */
export type Sources = (
  namespace: string | undefined,
  at: number | string | undefined,
) => Promise<Dir>

export type DraftGroup = {
  readonly namespace: string
  readonly incarnation: string
  /** Wall clock when the group began, ms since 1970. */
  readonly now: number
  readonly draft: Draft
  /** The namespace's present (leases, producers, answers, expiry): see `meta.ts`. */
  readonly meta: Draft
  readonly sources: Sources
  readonly nodes: Nodes
  readonly writer: NodeWriter
  readonly views: Views
  /** The groups that are committed together with this one, and only with it, by namespace: see `commit/alone.ts`. */
  readonly others?: ReadonlyMap<string, DraftGroup>
  /** Keys changed by the transactions that were applied. */
  readonly changed: Set<Key>
  /** Keys appended to by them: breaking one of these would hide what was appended from watchers. */
  readonly appended: Set<Key>
  /** Others have their turn while it is made. Nobody else can move the root meanwhile. */
  readonly slice: LoopSlice
}

/** Only the transaction that is being applied writes it; dropped where it fails. */
export type Work = {
  /** The seq before the transaction. */
  readonly seq: number
  /** One for each op. */
  readonly results: OpResult[]
  /** Resolved keys that changed. */
  readonly changed: Key[]
  /** Resolved keys whose logs grew or were sealed. */
  readonly appended: Key[]
  /** Resolved keys that were written and may have a cap. */
  readonly capped: Set<Key>
  /** Leases taken, less those that went. */
  leases: number
  /** Blobs that the ops made. */
  readonly blobs: Blob[]
  /** Called once the group is durable, before its answers. They do not throw. */
  readonly effects: (() => void)[]
}

export function newWork(seq: number): Work {
  return {
    seq,
    results: [],
    changed: [],
    appended: [],
    capped: new Set(),
    leases: 0,
    blobs: [],
    effects: [],
  }
}
