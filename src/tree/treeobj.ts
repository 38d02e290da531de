/** What a key names: a small value, an array of blobs, a directory or a link. See rfc/5.
 *  Invariant: a Treeobj is immutable and canonical: equal contents have equal encodings, and so
 *  equal refs. */

import type { Blobref } from '../blob/blobref.js'

/** Values up to this size (bytes) stay inside their directory. */
export const inlineSizeMax = 256

export type Treeobj = Val | Valref | Dir | Symlink

/** Bytes of an attribute's value, UTF-8. */
export const attrSizeMax = 255

/** Small. `sealed` is on a Valref only. */
export type Attrs = {
  readonly contentType?: string
  readonly sealed?: true
}

/** A small value, inline. At most `inlineSizeMax` bytes. */
export type Val = {
  readonly type: 'val'
  readonly data: Uint8Array
  readonly attrs?: Attrs
}

/** Blobs and bytes of a log's head that a trim dropped: indices and offsets go on counting them. */
export type Base = { readonly count: number; readonly size: number }

/** A value that is the concatenation of blobs: see `array.ts`. */
export type Valref = {
  readonly type: 'valref'
  /** The array's root node; for an array of one blob that blob itself, dropped or not. */
  readonly ref: Blobref
  /** Blobs, those before the base included. */
  readonly count: number
  /** Bytes, those before the base included. */
  readonly size: number
  /** Absent where no blob was dropped. What is below it may be gone from the store. */
  readonly base?: Base
  readonly attrs?: Attrs
}

/** A directory of any size: see `dir.ts`. */
export type Dir = {
  readonly type: 'dir'
  /** The root node; undefined where the directory is empty. */
  readonly ref: Blobref | undefined
  /** Keys below, at any depth, directories not counted. */
  readonly keys: number
  /** Bytes of the values below. */
  readonly size: number
}

/** Followed in the middle of a key and at its end. `target` is a key from its namespace's root. */
export type Symlink = {
  readonly type: 'symlink'
  readonly target: string
  /** Another namespace; absent: the link's own. */
  readonly namespace?: string
}

export const emptyDir: Dir = { type: 'dir', ref: undefined, keys: 0, size: 0 }

/** What a treeobj adds to the `keys` of the directories above it. */
export function keysOf(treeobj: Treeobj): number {
  return treeobj.type === 'dir' ? treeobj.keys : 1
}

/** The base of a log that has none. */
export const baseNone: Base = { count: 0, size: 0 }

/** Bytes of the values that a treeobj names, without what trims dropped. */
export function sizeOf(treeobj: Treeobj): number {
  switch (treeobj.type) {
    case 'val':
      return treeobj.data.length
    case 'valref':
      return treeobj.size - (treeobj.base?.size ?? 0)
    case 'dir':
      return treeobj.size
    case 'symlink':
      return 0
    default:
      return treeobj satisfies never
  }
}

/** Links followed on the way to one key. */
export const linksMax = 10

/** The root of the data tree of each namespace; undefined where there is no such namespace. */
export type Views = (namespace: string) => Dir | undefined | Promise<Dir | undefined>

/** A treeobj in JSON, see `json.ts`. `data`: base64 (val), blobrefs (valref, one page of them), one blobref (dirref), an object without
 *  names (dir: only the empty one has no node), or the target (symlink). */
export type TreeobjJson = {
  readonly ver: 1
  readonly type: 'val' | 'valref' | 'dir' | 'dirref' | 'symlink'
  readonly data: unknown
  readonly attrs?: Attrs
  /** valref: the bytes behind each ref of `data`. */
  readonly sizes?: readonly number[]
  /** valref: whether more blobs of the same append follow each; absent where none is followed. */
  readonly more?: readonly boolean[]
  /** valref: blobs; dirref: keys below. */
  readonly count?: number
  /** Bytes. */
  readonly size?: number
  /** valref: what a trim dropped of `count` and `size`; `data` begins behind it. */
  readonly base?: Base
  /** valref with a base: the array's root node. It cannot be told from the refs that are left. */
  readonly ref?: Blobref
  /** There are more refs: ask again `after` this index. */
  readonly next?: number
}
