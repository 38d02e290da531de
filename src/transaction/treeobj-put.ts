/** A key becomes a treeobj that a caller wrote. See rfc/6, rules 24 and 30.
 *  Invariant: what is applied was checked: all that it names is stored, or was said to dangle. */

import assert from 'node:assert/strict'
import { closeArray, emptyArray, pushBlob } from '../tree/array.js'
import type { Treeobj } from '../tree/treeobj.js'
import { refOf } from '../tree/treeobj-codec.js'
import { clear, set } from './copy.js'
import type { Group } from './group.js'
import type { TreeobjContent, TreeobjOp } from './treeobj-op.js'
import type { Work } from './work.js'

export async function putTreeobj(group: Group, op: TreeobjOp, work: Work): Promise<void> {
  const place = await clear(group, op.key, work, { replace: false })
  const treeobj = treeobjOf(group, op.content)
  set(group, place, treeobj, work)
  work.results.push({ ref: refOf(treeobj) })
}

function treeobjOf(group: Group, content: TreeobjContent): Treeobj {
  assert(content.kind !== 'raw', 'a treeobj was checked before it is applied')
  if (content.kind === 'treeobj') return content.treeobj
  let array = emptyArray
  for (const blob of content.blobs) array = pushBlob(group.writer, array, blob)
  return closeArray(group.writer, array, content.attrs)
}
