/** Joins small pieces of an answer: the pieces of one turn of the event loop are one write, or
 *  several writes of about `batchSize`. See rfc/12, rule 33.
 *  Invariant: bytes are written in the order of `add`, and at the latest at the end of the turn. */

import { batchSize } from './pace.js'

/** The pieces of one answer. */
export class Gatherer {
  readonly #write: (bytes: Uint8Array) => void
  #parts: Uint8Array[] = []
  #size = 0
  #scheduled = false

  constructor(write: (bytes: Uint8Array) => void) {
    this.#write = write
  }

  /** Adds a piece. REQUIRES: nobody changes its bytes afterwards. */
  add(piece: Uint8Array): void {
    if (piece.length === 0) return
    if (piece.length >= batchSize) {
      // It is written alone, since joining would copy it.
      this.flush()
      this.#write(piece)
      return
    }
    this.#parts.push(piece)
    this.#size += piece.length
    if (this.#size >= batchSize) this.flush()
    else this.#schedule()
  }

  /** Writes all pieces that were added. */
  flush(): void {
    const [first, ...more] = this.#parts
    if (!first) return
    const bytes = more.length === 0 ? first : Buffer.concat(this.#parts, this.#size)
    this.#parts = []
    this.#size = 0
    this.#write(bytes)
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.flush()
    })
  }
}
