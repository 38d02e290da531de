/** The op `adopt`, which only the store submits: a tree that an import or a repair has stored
 *  becomes the tree of the namespace. See rfc/15.
 *  Invariant: what belonged to the replaced values (producers, expiry) ends, and the new
 *  tree brings none. */

import type { DraftGroup, Work } from '../draft/group.js'
import { TailraceError } from '../error.js'
import { endLife } from '../present/expiry.js'
import { refOf } from '../treeobj/codec.js'
import type { Key } from '../treeobj/key.js'
import type { Dir } from '../treeobj/treeobj.js'

/** The op that replaces the tree of a namespace. */
export type Adopt = {
  readonly op: 'adopt'
  /** The new tree. REQUIRES: it is stored, with all that it reaches. */
  readonly data: Dir
  /** The condition on the tree that it replaces: an empty one, any, or this one. */
  readonly on: 'empty' | 'anything' | Dir
  /** The keys that change, and whose values end; the root directory stands for all. */
  readonly changed: readonly Key[]
}

/** Replaces the tree of the namespace. REQUIRES: a group of its own, so that the draft has the
 *  state of the newest root, and no append of the group is hidden from watchers. Throws
 *  ENOTEMPTY, ECONFLICT. */
export async function adopt(group: DraftGroup, op: Adopt, work: Work): Promise<void> {
  const { draft } = group
  const { data, on, changed } = op
  if (on === 'empty' && !(await draft.isEmpty(draft.root))) throw notEmpty(group.namespace)
  if (typeof on === 'object') {
    const now = draft.root.base
    if (now.ref !== on.ref) throw otherTree({ namespace: group.namespace, base: on, now })
  }
  for (const key of changed) await endLife(group, key)
  draft.setRoot(data)
  for (const key of changed) work.changed.push(key)
  work.results.push({ ref: refOf(data) })
}

/** Makes the error for an import into a namespace that has keys. */
export function notEmpty(namespace: string): TailraceError {
  return new TailraceError(
    'ENOTEMPTY',
    `the namespace ${namespace} has keys: say replace, or import into another one`,
  )
}

/** Makes the error for a difference to another tree. Its `failed.state` has both refs, as `stat` of
 *  the root directory gives them. */
export function otherTree(trees: {
  readonly namespace: string
  readonly base: Dir
  readonly now: Dir
}): TailraceError {
  const state = { base: refOf(trees.base), ref: refOf(trees.now) }
  return new TailraceError(
    'ECONFLICT',
    `the export is a difference to another tree than ${trees.namespace} has: import what lies between first, or a whole export`,
    { failed: { state } },
  )
}
