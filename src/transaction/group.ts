/** What the transactions of a commit group share. See rfc/6.
 *  Invariant: `changed` and `appended` name only what transactions did that were applied. */

import type { LoopSlice } from '../base/loop-slice.js'
import type { Key } from '../tree/key.js'
import type { Views } from '../tree/lookup.js'
import type { Nodes, NodeWriter } from '../tree/nodes.js'
import type { Dir } from '../tree/treeobj.js'
import type { Deadlines } from './deadlines.js'
import type { Draft } from './draft.js'
import type { TimesKnown } from './times-known.js'

/** Trees to copy from: a namespace's newest one as this group has it when it begins, or that of a retained
 *  root. Throws ENONS, ECOMPACTED, EINVAL. */
export type Sources = (
  namespace: string | undefined,
  at: number | string | undefined,
) => Promise<Dir>

export type Group = {
  readonly namespace: string
  readonly incarnation: string
  /** Wall clock when the group began, ms since 1970. */
  readonly now: number
  readonly draft: Draft
  /** The namespace's present (leases, producers, answers, expiry): see `meta.ts`. */
  readonly meta: Draft
  /** Of leases and expiring keys: only for effects, and for what is due. */
  readonly deadlines: Deadlines
  readonly sources: Sources
  /** When logs were marked last. */
  readonly times: TimesKnown
  readonly nodes: Nodes
  readonly writer: NodeWriter
  readonly views: Views
  /** The groups that are committed together with this one, and only with it, by namespace: see `joint.ts`. */
  readonly others?: ReadonlyMap<string, Group>
  /** Keys changed by the transactions that were applied. */
  readonly changed: Set<Key>
  /** Keys appended to by them: breaking one of these would hide what was appended from watchers. */
  readonly appended: Set<Key>
  /** Leases that are held after them. */
  leases: number
  /** Others have their turn while it is made. Nobody else can move the root meanwhile. */
  readonly slice: LoopSlice
}
