/** The health of a store after failed writes: a full disk is told from a broken one, which takes no
 *  further writes. See rfc/4, rule 22.
 *  Invariant: once a write has failed for another reason than a full disk, every later one is refused
 *  until the store is opened again: what is on the disk is unknown then, and a later sync that
 *  succeeds would prove nothing. */

import { reasonOf, TailraceError } from '../error.js'

/** The health of one store. */
export class Health {
  readonly #directory: string
  #broken: TailraceError | undefined

  constructor(directory: string) {
    this.#directory = directory
  }

  /** The error for which nothing can be written any more; undefined while writes work. */
  get broken(): TailraceError | undefined {
    return this.#broken
  }

  /** Returns the ENOSPC of a full disk. */
  full(cause?: unknown): TailraceError {
    const message = `no space left in ${this.#directory}: make space, or remove keys and collect, then write again`
    return new TailraceError('ENOSPC', message, { cause })
  }

  /** Takes no further writes from now on, and returns the EIO that says so. */
  break(cause: unknown): TailraceError {
    const reason = reasonOf(cause)
    const message = `a write to ${this.#directory} failed (${reason}): the store is read-only until it is opened again; check the disk first`
    this.#broken ??= new TailraceError('EIO', message, { cause })
    return this.#broken
  }
}
