/** Large buffers that are used again. V8 counts the bytes of buffers, and marks its whole heap each
 *  time that some 30 MB of them were made: 160 MB read in buffers that are new each time cost a third
 *  of the CPU time of reading them.
 *  Invariant: a buffer that is here has no other user. At most `pooledMax` buffers are kept. */

/** The number of buffers that are kept. */
const pooledMax = 8
/** The smallest and the largest size of a buffer that is kept, in bytes. */
const pooledSizeMin = 64 * 1024
const pooledSizeMax = 512 * 1024

/** Free buffers. Mutable; owned by the one who takes and gives. */
export class BufferPool {
  #free: ArrayBufferLike[] = []

  /** Returns `length` bytes with any content: in a buffer that was given, if one has that size or is
   *  at most a quarter larger, else in a new one. */
  take(length: number): Buffer {
    const index = this.#free.findIndex(({ byteLength }) => fits(byteLength, length))
    const [found] = index < 0 ? [] : this.#free.splice(index, 1)
    return found ? Buffer.from(found, 0, length) : Buffer.allocUnsafeSlow(length)
  }

  /** Takes the whole buffer of `bytes` back. REQUIRES: nobody reads it or writes to it any more, also
   *  through another view. */
  give({ buffer }: Uint8Array): void {
    const { byteLength } = buffer
    if (byteLength < pooledSizeMin || byteLength > pooledSizeMax) return
    this.#free.push(buffer)
    // The oldest goes, so that sizes that nobody asks for any more do not stay.
    if (this.#free.length > pooledMax) this.#free.shift()
  }
}

function fits(size: number, length: number): boolean {
  return size >= length && size - length <= size / 4
}
