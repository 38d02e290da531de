/** What the transactions of a commit group share. See rfc/6.
 *  Invariant: `changed` and `appended` name only what transactions did that were applied. */

import type { Key } from '../tree/key.js'
import type { Views } from '../tree/lookup.js'
import type { Nodes, NodeWriter } from '../tree/nodes.js'
import type { Draft } from './draft.js'

export type Group = {
  readonly draft: Draft
  readonly nodes: Nodes
  readonly writer: NodeWriter
  readonly views: Views
  /** Keys changed by the transactions that were applied. */
  readonly changed: Set<Key>
  /** Keys appended to by them: breaking one of these would hide what was appended from watchers. */
  readonly appended: Set<Key>
}
