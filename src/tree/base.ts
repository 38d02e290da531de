/** The base of a trimmed log: the blobs and bytes that trims dropped, and the error for reads below
 *  it. See rfc/19, rfc/7.
 *  Invariant: a read returns the bytes at the index or offset that was asked for, or throws. */

import type { Blobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import { type Base, baseNone, type Treeobj } from './treeobj.js'

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
