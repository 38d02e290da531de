/** A list of refs that takes 32 bytes for each, for walks over more refs than
 *  fit in memory as strings. */

import { type Blobref, blobrefAt, digestSize, writeDigest } from '../blob/blobref.js'

/** The number of refs in one piece of memory. */
const chunkCount = 4_096

/** Mutable; owned by the walk that made it. */
export class RefList implements Iterable<Blobref> {
  readonly #chunks: Buffer[] = []
  #count = 0

  get count(): number {
    return this.#count
  }

  push(ref: Blobref): void {
    const at = this.#count % chunkCount
    if (at === 0) this.#chunks.push(Buffer.alloc(chunkCount * digestSize))
    const chunk = this.#chunks.at(-1)
    if (chunk) writeDigest(ref, chunk, at * digestSize)
    this.#count++
  }

  /** Yields all refs in order, those too that are pushed meanwhile. */
  *[Symbol.iterator](): Iterator<Blobref> {
    for (let index = 0; index < this.#count; index++) {
      const chunk = this.#chunks[Math.floor(index / chunkCount)]
      if (chunk) yield blobrefAt(chunk, (index % chunkCount) * digestSize)
    }
  }
}
