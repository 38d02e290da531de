/** What is known of a key without reading its blobs. See rfc/6. */

import type { Blobref } from '../blob/blobref.js'
import type { Attrs, Base, Treeobj } from '../tree/treeobj.js'
import { refOf } from '../tree/treeobj-codec.js'
import type { Cap } from './operation.js'

/** What is known of a key without reading its blobs. */
export type Stat = {
  readonly type: Treeobj['type']
  /** Names the key's whole content: equal refs, equal contents. For ETags and guards. */
  readonly ref: Blobref
  /** valref: blobs; val: 1; dir: keys below, at any depth; symlink: 0. */
  readonly count: number
  /** Bytes, those that a trim dropped included. */
  readonly size: number
  readonly sealed: boolean
  /** What a trim dropped from the head of a log; absent where nothing was. */
  readonly base?: Base
  readonly attrs?: Attrs
  /** When the key goes by itself (wall clock, ms since 1970); `stat` of a key of the
   *  namespace itself, at its newest root. */
  readonly expires?: number
  /** How much of a log is kept as it is appended to; where `expires` is told, too. */
  readonly cap?: Cap
  /** symlink only (with `nofollow`). */
  readonly target?: string
  readonly namespace?: string
  /** The seq of the root that was read. */
  readonly seq: number
}

export function statOf(treeobj: Treeobj, seq: number): Stat {
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
