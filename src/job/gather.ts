/** Gathers the bytes that a process writes into blobs of data events. See rfc/8 and rfc/11, rule 7.
 *  Invariant: bytes leave in the order in which they came, each once. They are copied when they
 *  come: no buffer that was handed in is kept. */

import { blobSizeMax } from '../blob/blob.js'
import {
  type DataPlace,
  dataHeadSize,
  type Offsets,
  type Stream,
  writeDataHead,
  writeDataSize,
} from '../eventlog/stdio.js'

/** The first size of the buffer, in bytes: a lone line fits. A larger one has the size of a
 *  blob. */
const firstSize = 16 * 1024
/** The largest head of an event, in bytes. A blob without room for one is full. */
const headSizeMax = Math.max(dataHeadSize('stdout'), dataHeadSize('stderr'))

/** The data event that is being written. */
type OpenRun = { readonly stream: Stream; readonly at: number }

export class Gather {
  #buffer = Buffer.alloc(0)
  #size = 0
  #run: OpenRun | undefined
  #offsets: Offsets = { stdout: 0, stderr: 0 }

  /** The size of the gathered events, in bytes. */
  get size(): number {
    return this.#size
  }

  /** The offsets of the streams after all bytes that came. */
  get offsets(): Offsets {
    return this.#offsets
  }

  /** Copies the bytes, and returns the blobs that are full now. `timestamp`: seconds since 1970. */
  add(stream: Stream, chunk: Uint8Array, timestamp: number): Uint8Array[] {
    const full: Uint8Array[] = []
    for (let at = 0; at < chunk.length; ) {
      this.#openRun({ stream, timestamp, offsets: this.#offsets })
      const piece = chunk.subarray(at, at + blobSizeMax - this.#size)
      this.#reserve(piece.length)
      this.#buffer.set(piece, this.#size)
      this.#size += piece.length
      at += piece.length
      this.#offsets = { ...this.#offsets, [stream]: this.#offsets[stream] + piece.length }
      if (this.#size + headSizeMax >= blobSizeMax) full.push(this.take())
    }
    return full
  }

  /** Takes the gathered events, as one blob. REQUIRES: `size` is above 0. */
  take(): Uint8Array {
    this.#closeRun()
    const bytes = this.#buffer.subarray(0, this.#size)
    // A small blob is copied, so that it does not pin a large buffer for as long as it is cached.
    const own =
      this.#size * 2 > this.#buffer.length ? bytes : Uint8Array.prototype.slice.call(bytes)
    this.#buffer = Buffer.alloc(0)
    this.#size = 0
    return own
  }

  #openRun(place: DataPlace): void {
    if (this.#run?.stream === place.stream) return
    this.#closeRun()
    this.#reserve(dataHeadSize(place.stream))
    writeDataHead(place, this.#buffer, this.#size)
    this.#run = { stream: place.stream, at: this.#size }
    this.#size += dataHeadSize(place.stream)
  }

  #closeRun(): void {
    if (!this.#run) return
    const { stream, at } = this.#run
    writeDataSize(stream, this.#size - at - dataHeadSize(stream), this.#buffer, at)
    this.#run = undefined
  }

  #reserve(size: number): void {
    const needed = this.#size + size
    if (needed <= this.#buffer.length) return
    const larger = Buffer.allocUnsafeSlow(needed <= firstSize ? firstSize : blobSizeMax)
    larger.set(this.#buffer.subarray(0, this.#size))
    this.#buffer = larger
  }
}
