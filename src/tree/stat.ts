/** The facts about a key that need no read of its blobs. See rfc/6. */

import type { Blobref } from '../blob/blobref.js'
import type { Attrs, Base, Treeobj } from './treeobj.js'
import { refOf } from './treeobj-codec.js'

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

/** Returns the type of a treeobj with its count and its size in bytes. `count` is the
 *  number of blobs of a value, or of keys below a directory; `size` of a value
 *  includes what trims dropped. */
export function measureOf(treeobj: Treeobj): {
  type: Treeobj['type']
  count: number
  size: number
} {
  switch (treeobj.type) {
    case 'val':
      return { type: 'val', count: 1, size: treeobj.data.length }
    case 'valref':
      return { type: 'valref', count: treeobj.count, size: treeobj.size }
    case 'dir':
      return { type: 'dir', count: treeobj.keys, size: treeobj.size }
    case 'symlink':
      return { type: 'symlink', count: 0, size: 0 }
    default:
      return treeobj satisfies never
  }
}
