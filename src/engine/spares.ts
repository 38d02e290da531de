/** The blobs that a collection spares although no root names them: those that were put or asked
 *  for lately, and those that are put or committed while the collection is under way. See
 *  rfc/4, rule 25.
 *  Invariant: it may spare too many blobs, never too few. Where it could not remember all puts
 *  since a time, it spares everything. */

import type { Environment } from '../base/environment.js'
import type { Blobref } from '../blob/blobref.js'
import { RefSet } from '../blob/ref-set.js'

/** The time for which a put is remembered, in ms. */
const putsKeptMs = 3_600_000
/** The largest number of puts that are remembered, 130 bytes each. */
const putsMax = 131_072
/** The largest number of refs that may be put and committed while a collection runs, 30 bytes each.
 *  Above it the collection frees nothing more. */
const touchedMax = 4_194_304

type Named = { readonly ref: Blobref }

/** The spared blobs of one engine. Times are monotonic, in ms. */
export class Spares {
  readonly #environment: Environment
  /** The time of each ref's last put, oldest first. */
  readonly #puts = new Map<Blobref, number>()
  /** The time up to which puts may have been dropped from `#puts`. */
  #droppedUpTo = Number.NEGATIVE_INFINITY
  /** The blobs of commits that were submitted and are not answered. */
  readonly #pending = new Set<readonly Named[]>()
  /** The refs that were put or committed since the collection under way began. */
  #touched: RefSet | undefined

  constructor(environment: Environment) {
    this.#environment = environment
  }

  /** Notes refs that are put, or asked for, now. */
  put(refs: Iterable<Blobref>): void {
    const now = this.#environment.monotonic()
    for (const ref of refs) {
      this.#puts.delete(ref) // to the end of the order
      this.#puts.set(ref, now)
      this.#touch(ref)
    }
    for (const [ref, at] of this.#puts) {
      if (this.#puts.size <= putsMax && now - at <= putsKeptMs) break
      this.#puts.delete(ref)
      this.#droppedUpTo = at
    }
  }

  /** Notes the blobs of a commit from its submission on. Call the result when the
   *  commit is answered. */
  commit(blobs: readonly Named[]): () => void {
    if (blobs.length === 0) return () => {}
    for (const { ref } of blobs) this.#touch(ref)
    this.#pending.add(blobs)
    return () => this.#pending.delete(blobs)
  }

  /** Begins a collection. REQUIRES: none is under way. */
  begin(): void {
    this.#touched = new RefSet()
    for (const blobs of this.#pending) for (const { ref } of blobs) this.#touch(ref)
  }

  /** Ends the collection. */
  end(): void {
    this.#touched = undefined
  }

  /** Returns true if a ref was put since the time `since`, or put or committed since the
   *  collection began. */
  isSpared(ref: Blobref, since: number): boolean {
    if (since <= this.#droppedUpTo) return true
    if ((this.#puts.get(ref) ?? Number.NEGATIVE_INFINITY) >= since) return true
    const touched = this.#touched
    return touched !== undefined && (touched.size >= touchedMax || touched.has(ref))
  }

  #touch(ref: Blobref): void {
    if (this.#touched && this.#touched.size < touchedMax) this.#touched.add(ref)
  }
}
