/** An op that no caller can write: the namespace's tree becomes one that was stored before, by an import
 *  or a repair. See rfc/15.
 *  Invariant: nothing that lived beside the values that went (producers, expiry) is revived by it. */

import type { DraftGroup, Work } from '../draft/group.js'
import { TailraceError } from '../error.js'
import { endLife } from '../present/expiry.js'
import type { Key } from '../tree/key.js'
import type { Dir } from '../tree/treeobj.js'
import { refOf } from '../tree/treeobj-codec.js'

export type Adopt = {
  readonly op: 'adopt'
  /** Stored, with all that it reaches. */
  readonly data: Dir
  /** What must be there: nothing; anything; just this tree. */
  readonly on: 'empty' | 'anything' | Dir
  /** Keys that changed, and whose values ended: the root directory is all of them. */
  readonly changed: readonly Key[]
}

/** REQUIRES: a group of its own, so that the draft is as the newest root has it, and no append of the group
 *  is hidden from watchers. Throws ENOTEMPTY, ECONFLICT. */
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

export function notEmpty(namespace: string): TailraceError {
  return new TailraceError(
    'ENOTEMPTY',
    `the namespace ${namespace} has keys: say replace, or import into another one`,
  )
}

/** Refs as `stat` of the root directory has them. */
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
