/** A treeobj is what a key names: a small value, an array of blobs, a directory or a link. A log
 *  that was trimmed has a base: reads below it are errors. See rfc/5, rfc/19.
 *  Invariant: a Treeobj is immutable and canonical: equal contents have equal
 *  encodings, and so equal refs. */

import type { Blobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'

/** The largest size, in bytes, of a value that is stored inside its directory. */
export const inlineSizeMax = 256

/** The value, directory or link that a key names. */
export type Treeobj = Val | Valref | Dir | Symlink

/** The largest size of an attribute's value, in UTF-8 bytes. */
export const attrSizeMax = 255

/** The attributes of a value. Only a Valref can be `sealed`. */
export type Attrs = {
  readonly contentType?: string
  readonly sealed?: true
}

/** A small value of at most `inlineSizeMax` bytes, stored inside its directory. */
export type Val = {
  readonly type: 'val'
  readonly data: Uint8Array
  readonly attrs?: Attrs
}

/** The blobs and bytes of a log's head that trims dropped. Indices and offsets still count them. */
export type Base = { readonly count: number; readonly size: number }

/** A value that is an array of blobs: see `array.ts`. */
export type Valref = {
  readonly type: 'valref'
  /** The array's root node. For an array of one blob it is that blob itself, dropped or not. */
  readonly ref: Blobref
  /** The number of blobs, those before the base included. */
  readonly count: number
  /** The bytes of all blobs, those before the base included. */
  readonly size: number
  /** Absent if no blob was dropped. The store may have freed the blobs below it. */
  readonly base?: Base
  readonly attrs?: Attrs
}

/** A directory of any size: see `dir.ts`. */
export type Dir = {
  readonly type: 'dir'
  /** The root node; undefined where the directory is empty. */
  readonly ref: Blobref | undefined
  /** The number of keys below, at any depth, without directories. */
  readonly keys: number
  /** The bytes of the values below. */
  readonly size: number
}

/** A link to another key. Lookups follow it in the middle of a key, and most of them at its end
 *  too. `target` is a key from the root of its namespace. */
export type Symlink = {
  readonly type: 'symlink'
  readonly target: string
  /** The namespace of the target; absent for the link's own. */
  readonly namespace?: string
}

/** The directory without entries. */
export const emptyDir: Dir = { type: 'dir', ref: undefined, keys: 0, size: 0 }

/** Returns what a treeobj adds to the `keys` of the directories above it. */
export function keysOf(treeobj: Treeobj): number {
  return treeobj.type === 'dir' ? treeobj.keys : 1
}

/** The base of a log that has none. */
export const baseNone: Base = { count: 0, size: 0 }

/** Returns the bytes of the values that a treeobj names, without those that trims dropped. */
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

/** The largest number of links that are followed on the way to one key. */
export const linksMax = 10

/** Returns the root directory of a namespace; undefined if there is no such namespace. */
export type Views = (namespace: string) => Dir | undefined | Promise<Dir | undefined>

/** A treeobj in JSON: see `json.ts`. `data` is base64 for a val, a page of blobrefs for a valref,
 *  one blobref for a dirref, an object without names for a dir (only the empty directory is one),
 *  and an object with the target for a symlink. */
export type TreeobjJson = {
  readonly ver: 1
  readonly type: 'val' | 'valref' | 'dir' | 'dirref' | 'symlink'
  readonly data: unknown
  readonly attrs?: Attrs
  /** valref: the size in bytes of each blob of `data`. */
  readonly sizes?: readonly number[]
  /** valref: true for each blob that more blobs of the same append follow; absent if none is. */
  readonly more?: readonly boolean[]
  /** The number of blobs of a valref, or of keys below a dirref. */
  readonly count?: number
  /** The size of a valref, or of the values below a dirref, in bytes. */
  readonly size?: number
  /** valref: the blobs and bytes of `count` and `size` that trims dropped;
   *  `data` begins behind them. */
  readonly base?: Base
  /** valref with a base: the array's root node, which the refs that are left do not tell. */
  readonly ref?: Blobref
  /** Present if there are more refs: ask again with this index as `after`. */
  readonly next?: number
}

/** The oldest position at which a watcher may begin (rfc/7). */
type OldestPosition = {
  readonly incarnation: string
  readonly index: number
  readonly prefix: Blobref
}

/** Returns the base of a value; `baseNone` for one that was not trimmed,
 *  and for what is no value. */
export function baseOf(treeobj: Treeobj): Base {
  return (treeobj.type === 'valref' && treeobj.base) || baseNone
}

/** Returns the number of bytes that a read of the whole value returns. */
export function sizeLeft({ size, base }: { readonly size: number; readonly base?: Base }): number {
  return size - (base?.size ?? 0)
}

/** Returns the ECOMPACTED for a read below a base. It says where the log begins now: `failed.state`
 *  has the base, and for a watcher the position from which it can go on, if that is known. */
export function compacted(what: string, base: Base, position?: OldestPosition): TailraceError {
  return new TailraceError(
    'ECOMPACTED',
    `${what} was dropped by a trim: the oldest that is left is index ${base.count}, at byte ${base.size}`,
    { failed: { state: { base, ...(position && { position }) } } },
  )
}

/** Throws ECOMPACTED if a read, by index or by a range of bytes, asks for what a trim dropped. A
 *  range without `from` begins at the base. */
export function checkAboveBase(
  key: string,
  base: Base,
  wanted: {
    readonly index?: number | undefined
    readonly from?: number | undefined
    readonly to?: number | undefined
  },
): void {
  const { index, from, to } = wanted
  if (index !== undefined) {
    if (index < base.count) throw compacted(`index ${index} of ${key}`, base)
  } else if (from === undefined ? to !== undefined && to < base.size : from < base.size) {
    throw compacted(`byte ${from ?? 0} of ${key}`, base)
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
