/** The bounds of one page of an answer. See rfc/12, rule 33.
 *  Invariant: a page has at least one entry where there is one. */

import { pageDefault, pageMax, pageSizeMax } from '../api/kvs.js'
import { TailraceError } from '../error.js'

/** Counts what a page holds. Mutable; owned by the call that makes the page. */
export class Page {
  readonly #limit: number
  #count = 0
  #size = 0

  /** Throws EINVAL. */
  constructor(limit: number | undefined) {
    this.#limit = pageLimit(limit)
  }

  get full(): boolean {
    return this.#count >= this.#limit || this.#size > pageSizeMax
  }

  /** `size`: characters of the names in the entry. */
  add(size: number): void {
    this.#count++
    this.#size += size
  }
}

/** Entries of a page. Throws EINVAL. */
export function pageLimit(limit: number | undefined): number {
  if (limit === undefined) return pageDefault
  if (Number.isSafeInteger(limit) && limit >= 1 && limit <= pageMax) return limit
  throw new TailraceError('EINVAL', `a page has 1 to ${pageMax} entries`)
}
