/** Gathers what the streams of a process write into blobs of data events. See rfc/8 and rfc/11.
 *  Invariant: bytes leave in the order in which they came, each once, and a full blob is full: at
 *  `blobSizeMax`, or of `chunksMax` pieces. Pure but for its own state; copies once, on leaving. */

import { blobSizeMax } from '../blob/blob.js'
import {
  type DataRun,
  dataHeadSize,
  encodeRuns,
  type Offsets,
  type Stream,
} from '../eventlog/stdio.js'

/** Pieces of one blob, so that a flood of single bytes costs no more memory than its blob. */
export const chunksMax = 4_096

type OpenRun = DataRun & { readonly chunks: Uint8Array[]; size: number }

export class Gather {
  #runs: OpenRun[] = []
  #size = 0
  #chunks = 0
  #offsets: Offsets = { stdout: 0, stderr: 0 }

  /** Bytes that the gathered events will have. */
  get size(): number {
    return this.#size
  }

  /** After all that came. */
  get offsets(): Offsets {
    return this.#offsets
  }

  /** Takes bytes over (they must not be written again) and gives the blobs that are full with them.
   *  `timestamp` in seconds. */
  add(stream: Stream, chunk: Uint8Array, timestamp: number): Uint8Array[] {
    const full: Uint8Array[] = []
    for (let at = 0; at < chunk.length; ) {
      const run = this.#runFor(stream, timestamp)
      const room = blobSizeMax - this.#size
      const piece = chunk.subarray(at, at + room)
      run.chunks.push(piece)
      run.size += piece.length
      this.#size += piece.length
      this.#chunks++
      this.#offsets = { ...this.#offsets, [stream]: this.#offsets[stream] + piece.length }
      at += piece.length
      if (this.#isFull()) full.push(this.take())
    }
    return full
  }

  /** What is gathered, as one blob. REQUIRES: `size` is above 0. */
  take(): Uint8Array {
    const bytes = encodeRuns(this.#runs)
    this.#runs = []
    this.#size = 0
    this.#chunks = 0
    return bytes
  }

  /** No room for a byte of either stream in an event of its own, or too many pieces. */
  #isFull(): boolean {
    const head = Math.max(dataHeadSize('stdout'), dataHeadSize('stderr'))
    return this.#size + head >= blobSizeMax || this.#chunks >= chunksMax
  }

  #runFor(stream: Stream, timestamp: number): OpenRun {
    const last = this.#runs.at(-1)
    if (last?.stream === stream) return last
    const run = { stream, timestamp, offsets: this.#offsets, chunks: [], size: 0 }
    this.#runs.push(run)
    this.#size += dataHeadSize(stream)
    return run
  }
}
