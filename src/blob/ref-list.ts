/** A list of refs, 32 bytes each: for walks over more of them than strings would fit in memory. */

import { type Blobref, blobrefAt, digestSize, writeDigest } from './blobref.js'

/** Refs in one piece of memory. */
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

  /** Those that are pushed meanwhile too. */
  *[Symbol.iterator](): Iterator<Blobref> {
    for (let index = 0; index < this.#count; index++) {
      const chunk = this.#chunks[Math.floor(index / chunkCount)]
      if (chunk) yield blobrefAt(chunk, (index % chunkCount) * digestSize)
    }
  }
}
