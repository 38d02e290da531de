/** Which blobs a collection leaves alone though no root names them: what was put or asked for
 *  lately, and what is put or committed while the collection is under way. See rfc/4.
 *  Invariant: says "spared" too often, never too seldom: where it could not remember all puts since
 *  a time, it spares everything. */

import type { Environment } from '../base/environment.js'
import type { Blobref } from '../blob/blobref.js'
import { RefSet } from '../blob/ref-set.js'

/** Puts are remembered this long, and this many of them (130 bytes each). */
export const putsKeptMs = 3_600_000
export const putsMax = 131_072
/** Refs that a collection may see put and committed while it runs (30 bytes each); above it, it
 *  frees nothing more. */
export const touchedMax = 4_194_304

type Named = { readonly ref: Blobref }

export class Spares {
  readonly #environment: Environment
  /** When each ref was put last, oldest first. */
  readonly #puts = new Map<Blobref, number>()
  /** Puts up to here may have been dropped from `#puts`. */
  #droppedUpTo = Number.NEGATIVE_INFINITY
  /** Commits that were submitted and are not answered. */
  readonly #pending = new Set<readonly Named[]>()
  /** What was put or committed since the collection under way began. */
  #touched: RefSet | undefined

  constructor(environment: Environment) {
    this.#environment = environment
  }

  /** A put, or a question for refs: they count as put now. */
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

  /** Blobs of a commit, from its submission until the result is called. */
  commit(blobs: readonly Named[]): () => void {
    if (blobs.length === 0) return () => {}
    for (const { ref } of blobs) this.#touch(ref)
    this.#pending.add(blobs)
    return () => this.#pending.delete(blobs)
  }

  /** A collection begins. REQUIRES: none is under way. */
  begin(): void {
    this.#touched = new RefSet()
    for (const blobs of this.#pending) for (const { ref } of blobs) this.#touch(ref)
  }

  end(): void {
    this.#touched = undefined
  }

  /** Whether a ref was put since then (monotonic clock), or touched since the collection began. */
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
