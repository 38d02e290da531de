/** The bounds of one page of an answer. See rfc/10, rule 15.
 *  Invariant: a page has at least one entry where there is one. */

import { pageDefault, pageMax, pageSizeMax } from '../api/kvs.js'
import { TailraceError } from '../error.js'

/** Counts the entries of a page, and the characters of their names. Mutable; owned by the call that
 *  makes the page. */
export class Page {
  readonly #limit: number
  #count = 0
  #size = 0

  /** Begins a page of at most `limit` entries. Throws EINVAL. */
  constructor(limit: number | undefined) {
    this.#limit = pageLimit(limit)
  }

  /** True if the page takes no more entries. */
  get full(): boolean {
    return this.#count >= this.#limit || this.#size > pageSizeMax
  }

  /** Counts an entry; `size` is the number of characters of the names in it. */
  add(size: number): void {
    this.#count++
    this.#size += size
  }
}

/** Returns the number of entries that a page may have, `pageDefault` if none is asked
 *  for. Throws EINVAL. */
export function pageLimit(limit: number | undefined): number {
  if (limit === undefined) return pageDefault
  if (Number.isSafeInteger(limit) && limit >= 1 && limit <= pageMax) return limit
  throw new TailraceError('EINVAL', `a page has 1 to ${pageMax} entries`)
}
