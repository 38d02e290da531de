/** Blobs that are stored before anything names them: by puts that stream, imports, and owners who put blobs
 *  alone. See rfc/14.
 *  Invariant: what an upload has noted is spared by every collection that began before its commit was
 *  answered; an upload keeps nothing but its own blobs, however long it lasts. */

import type { Environment } from '../base/environment.js'
import type { Blobref } from '../blob/blobref.js'
import { RefSet } from '../blob/ref-set.js'

/** A blob that was put alone is kept this long, and this many of them (the oldest go first). */
export const lentMs = 3_600_000
export const lentMax = 131_072
/** Refs that an upload notes (30 bytes each): of a value, 256 GiB. A larger upload keeps all that was put since
 *  it began. */
export const uploadRefsMax = 1_048_576

/** Begun before its first put; disposed of when its commit is answered, not earlier. */
export class Upload implements Disposable {
  readonly #since: number
  readonly #end: (upload: Upload) => void
  readonly #refs = new RefSet()

  constructor(since: number, end: (upload: Upload) => void) {
    this.#since = since
    this.#end = end
  }

  /** Since when all puts are kept (monotonic clock): Infinity while its own refs are known. */
  get since(): number {
    return this.#refs.size < uploadRefsMax ? Number.POSITIVE_INFINITY : this.#since
  }

  /** Blobs that it puts, or relies on: before they are put, and before it is asked whether they are there. */
  note(refs: Iterable<Blobref>): void {
    for (const ref of refs) {
      if (this.#refs.size === uploadRefsMax) return
      this.#refs.add(ref)
    }
  }

  has(ref: Blobref): boolean {
    return this.#refs.has(ref)
  }

  [Symbol.dispose](): void {
    this.#end(this)
  }
}

/** The uploads that were under way when a collection began. */
export type OpenUploads = {
  /** Puts since then are kept (monotonic clock); Infinity: only what `has` says. */
  readonly since: number
  readonly has: (ref: Blobref) => boolean
}

export class Uploads {
  readonly #environment: Pick<Environment, 'monotonic'>
  readonly #open = new Set<Upload>()
  /** Until when, each blob that was put alone; in the order of that. */
  readonly #lent = new Map<Blobref, number>()

  constructor(environment: Pick<Environment, 'monotonic'>) {
    this.#environment = environment
  }

  begin(): Upload {
    const upload = new Upload(this.#environment.monotonic(), (ended) => this.#open.delete(ended))
    this.#open.add(upload)
    return upload
  }

  /** For a collection that begins in this turn of the event loop: what they note from now on it sees put. */
  underWay(): OpenUploads {
    const open = [...this.#open]
    return {
      since: Math.min(...open.map(({ since }) => since)),
      has: (ref) => open.some((upload) => upload.has(ref)),
    }
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
