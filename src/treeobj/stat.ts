/** The facts about a key that need no read of its blobs. See rfc/6. */

import type { Blobref } from '../blob/blobref.js'
import { refOf } from './codec.js'
import { type Attrs, type Base, measureOf, type Treeobj } from './treeobj.js'

/** The fields of a `Stat` (`api/kvs.ts`) that stand in the treeobj itself. */
type TreeobjStat = {
  readonly type: Treeobj['type']
  readonly ref: Blobref
  readonly count: number
  readonly size: number
  readonly seq: number
  readonly sealed: boolean
  readonly base?: Base
  readonly attrs?: Attrs
  readonly target?: string
  readonly namespace?: string
}

/** Returns the facts about a treeobj. `seq` is that of the root at which it was found. */
export function statOf(treeobj: Treeobj, seq: number): TreeobjStat {
  const ref = refOf(treeobj)
  const base = { ...measureOf(treeobj), ref, seq }
  switch (treeobj.type) {
    case 'val':
    case 'valref': {
      const { attrs } = treeobj
      const dropped = treeobj.type === 'valref' && treeobj.base ? { base: treeobj.base } : {}
      const sealed = attrs?.sealed === true
      return { ...base, sealed, ...dropped, ...(attrs ? { attrs } : {}) }
    }
    case 'dir':
      return { ...base, sealed: false }
    case 'symlink': {
      const { target, namespace } = treeobj
      return { ...base, sealed: false, target, ...(namespace === undefined ? {} : { namespace }) }
    }
    default:
      return treeobj satisfies never
  }
}
