/** The op `treeobj` as the commit loop takes it, before and after its check (`treeobj-check.ts`). See rfc/6,
 *  rules 30 to 32. */

import type { Op } from '../api/transaction.js'
import type { ArrayBlob } from '../tree/array.js'
import { type Key, parseKey } from '../tree/key.js'
import type { Attrs, Treeobj } from '../tree/treeobj.js'
import { parseTreeobj, type RawTreeobj } from './treeobj-json.js'

export type TreeobjContent =
  /** As it was written. */
  | { readonly kind: 'raw'; readonly raw: RawTreeobj; readonly dangling: boolean }
  /** All that it names is stored, or may be missing. */
  | { readonly kind: 'treeobj'; readonly treeobj: Treeobj }
  /** The same of these blobs. */
  | {
      readonly kind: 'blobs'
      readonly blobs: readonly ArrayBlob[]
      readonly attrs: Attrs | undefined
    }

export type TreeobjOp = {
  readonly op: 'treeobj'
  readonly key: Key
  readonly content: TreeobjContent
}

/** Throws EINVAL, E2BIG. */
export function prepareTreeobj(op: Extract<Op, { op: 'treeobj' }>): TreeobjOp {
  const { key, treeobj, dangling = false } = op
  const content = { kind: 'raw', raw: parseTreeobj(treeobj), dangling } as const
  return { op: 'treeobj', key: parseKey(key), content }
}
