/** Reads a file from the front to the back in pieces that cover many small records at a time.
 *  Invariant: nothing is written. Memory: one piece, or one record's head if that is larger. */

import type { FileHandle } from 'node:fs/promises'

/** The size of a piece in bytes, where reads follow one another, and where one is far ahead. */
const pieceSize = 256 * 1024
const leapSize = 8 * 1024

/** A view of a file. Mutable; owned by the loop that reads. */
export class Window {
  readonly #file: FileHandle
  /** The size of the file when the window was made, in bytes. */
  readonly size: number
  #bytes: Buffer = Buffer.alloc(0)
  #start = 0

  constructor(file: FileHandle, size: number) {
    this.#file = file
    this.size = size
  }

  /** Returns the bytes from `at` on, `length` of them, fewer at the end of the file. The result is a
   *  view that stays as it is. Throws what node:fs throws. */
  async bytes(at: number, length: number): Promise<Buffer> {
    const end = Math.min(at + length, this.size)
    if (at >= end) return Buffer.alloc(0)
    if (at < this.#start || end > this.#start + this.#bytes.length) {
      const isNear = at <= this.#start + this.#bytes.length
      const size = Math.min(Math.max(isNear ? pieceSize : leapSize, length), this.size - at)
      this.#bytes = await readFully(this.#file, at, size)
      this.#start = at
    }
    return this.#bytes.subarray(at - this.#start, Math.min(end - this.#start, this.#bytes.length))
  }
}

/** Reads `size` bytes from `at` on, fewer where the file ends. Throws what node:fs throws. */
export async function readFully(file: FileHandle, at: number, size: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(size)
  let filled = 0
  while (filled < size) {
    const { bytesRead } = await file.read(bytes, filled, size - filled, at + filled)
    if (bytesRead === 0) return bytes.subarray(0, filled)
    filled += bytesRead
  }
  return bytes
}
