/** Blobs that are stored before anything names them: by puts that stream, imports, and owners who put blobs
 *  alone. See rfc/14.
 *  Invariant: what an upload has put or asked for since it began is spared by every collection that began
 *  meanwhile, until its commit is answered. */

import type { Environment } from '../base/environment.js'
import type { Blobref } from '../blob/blobref.js'

/** A blob that was put alone is kept this long, and this many of them (the oldest go first). */
export const lentMs = 3_600_000
export const lentMax = 131_072

export class Uploads {
  readonly #environment: Pick<Environment, 'monotonic'>
  /** Since when, each of those that are under way. */
  readonly #open = new Set<{ readonly since: number }>()
  /** Until when, each blob that was put alone; in the order of that. */
  readonly #lent = new Map<Blobref, number>()

  constructor(environment: Pick<Environment, 'monotonic'>) {
    this.#environment = environment
  }

  /** Before its first put, until its commit is answered: dispose of it then, not earlier. */
  begin(): Disposable {
    const upload = { since: this.#environment.monotonic() }
    this.#open.add(upload)
    return { [Symbol.dispose]: () => void this.#open.delete(upload) }
  }

  /** When the oldest one that is under way began (monotonic clock); Infinity where none is. */
  get since(): number {
    return Math.min(...[...this.#open].map(({ since }) => since))
  }

  /** A blob that its owner will name soon. Before it is put. */
  lend(ref: Blobref): void {
    const now = this.#environment.monotonic()
    this.#lent.delete(ref) // to the end of the order
    this.#lent.set(ref, now + lentMs)
    for (const [oldest, until] of this.#lent) {
      if (this.#lent.size <= lentMax && until > now) break
      this.#lent.delete(oldest)
    }
  }

  isLent(ref: Blobref): boolean {
    return (this.#lent.get(ref) ?? 0) > this.#environment.monotonic()
  }
}
