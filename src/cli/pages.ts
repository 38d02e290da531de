/** Pages of one root, as a command prints them: where that root goes before the last page the rest is of the
 *  newest one, and the command says so. See rfc/10, rule 20.
 *  Invariant: no page is of another root than the one before it without a line on stderr. */

import { isCode } from '../error.js'
import type { Invocation } from './invocation.js'

export class RootPages {
  readonly #invocation: Invocation
  readonly #given: boolean
  #seq: number
  readonly #later: number[] = []

  /** `seq`: of the root that the first page is of. `given`: the caller named it, and wants no other. */
  constructor(
    invocation: Invocation,
    { seq, given }: { readonly seq: number; readonly given: boolean },
  ) {
    this.#invocation = invocation
    this.#seq = seq
    this.#given = given
  }

  /** The roots that the pages went on at, in their order: for JSON; nothing where there is one root only. */
  get later(): { readonly later?: readonly number[] } {
    return this.#later.length > 0 ? { later: this.#later } : {}
  }

  /** Reads a page at the root of the one before it, or at the newest. Throws ECOMPACTED where the root was
   *  given. */
  async next<Page>(
    read: (at: number | undefined) => Promise<Page>,
    seqOf: (page: Page) => number,
  ): Promise<Page> {
    try {
      return await read(this.#seq)
    } catch (error) {
      if (this.#given || !isCode(error, 'ECOMPACTED')) throw error
    }
    const page = await read(undefined)
    const seq = seqOf(page)
    this.#later.push(seq)
    const gone = `the root of seq ${this.#seq} is no more retained`
    await this.#invocation.stderr.line(`tailrace: ${gone}: what follows is of seq ${seq}`)
    this.#seq = seq
    return page
  }
}
