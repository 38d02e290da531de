/** The head of a log that trims dropped, and the error for those who ask for it. See rfc/19, rfc/7.
 *  Invariant: nobody gets other bytes than those at the index or offset that was asked for. */

import type { Blobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import { type Base, baseNone, type Treeobj } from './treeobj.js'

/** Where a watcher may begin (rfc/7). */
export type OldestPosition = {
  readonly incarnation: string
  readonly index: number
  readonly prefix: Blobref
}

/** What a trim dropped of a value; nothing where it is none, or was not trimmed. */
export function baseOf(treeobj: Treeobj): Base {
  return (treeobj.type === 'valref' && treeobj.base) || baseNone
}

/** Bytes that a read of the whole value gives. */
export function sizeLeft({ size, base }: { readonly size: number; readonly base?: Base }): number {
  return size - (base?.size ?? 0)
}

/** ECOMPACTED, with where the log begins now: for a watcher the position to go on from, if that is known. */
export function compacted(what: string, base: Base, position?: OldestPosition): TailraceError {
  return new TailraceError(
    'ECOMPACTED',
    `${what} was dropped by a trim: the oldest that is left is index ${base.count}, at byte ${base.size}`,
    { failed: { state: { base, ...(position && { position }) } } },
  )
}

/** Throws ECOMPACTED where a read wants what is gone. */
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
