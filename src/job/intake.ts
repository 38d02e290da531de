/** Reads the pipes of a process into its output, no faster than the store takes it. See rfc/11,
 *  rules 7 and 8.
 *  Invariant: bytes are never decoded as text. While the output is full, no pipe is read. */

import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net'
import type { Readable } from 'node:stream'
import { deferred } from '../base/deferred.js'
import type { Stream } from '../eventlog/stdio.js'
import { type OutputWriter, readSizeMin } from './output.js'
import { floodSize, type PipePool } from './pipes.js'

/** The reason, for each stream that ended before its writers did. */
export type Reasons = { readonly [stream in Stream]?: string }

export class Intake {
  readonly #output: OutputWriter
  readonly #open = new Map<Stream, Readable>()
  readonly #closed = deferred<void>()
  #paused = false
  #merged = false

  constructor(output: OutputWriter) {
    this.#output = output
  }

  /** Reads a pipe to its end, then closes it. Once a read finds the pipe full, the pipe and the reads
   *  become larger: a reader that was busy meanwhile then finds as much as several blobs hold. */
  readPipe(stream: Stream, fd: number, pool: PipePool): void {
    const largerSize = Math.min(floodSize, this.#output.readSizeMax)
    let buffer: Buffer = Buffer.allocUnsafeSlow(readSizeMin)
    const callback = (size: number) => {
      this.#take(stream, buffer.subarray(0, size))
      const isFull = size === readSizeMin && buffer.length < largerSize
      if (isFull && pool.enlarge(fd, largerSize)) {
        socket.once('close', () => pool.enlargedClosed())
        buffer = pool.readBuffer.subarray(0, largerSize)
      }
      return !this.#paused
    }
    // `onread` works for `new Socket` as for `net.connect`, but only the latter's types have it.
    const options: SocketConstructorOpts & { readonly onread: OnReadOpts } = {
      fd,
      readable: true,
      writable: false,
      onread: { buffer: () => buffer, callback },
    }
    const socket = new Socket(options)
    this.#read(stream, socket)
  }

  /** Reads a stream to its end. */
  readStream(stream: Stream, pipe: Readable): void {
    pipe.on('data', (chunk: Uint8Array) => this.#take(stream, chunk))
    this.#read(stream, pipe)
  }

  /** Records that stderr is merged: its bytes come through the pipe of stdout. */
  merge(): void {
    this.#merged = true
  }

  /** Waits for the ends of all streams, at most `heldMs`, not counting time in which they could not
   *  be read. Then it closes those that another process still holds open. Call it when the process
   *  has ended. */
  async drain(heldMs: number): Promise<Reasons> {
    const reasons: { [stream in Stream]?: string } = this.#merged ? { stderr: 'merged' } : {}
    const give = () => {
      // Nothing was read while the store was behind: bytes of the process itself may be in the
      // pipe.
      if (this.#paused) {
        timer.refresh()
        return
      }
      for (const [stream, pipe] of this.#open) {
        reasons[stream] = 'held'
        pipe.destroy()
      }
    }
    const timer = setTimeout(give, heldMs)
    if (this.#open.size > 0) await this.#closed.promise
    clearTimeout(timer)
    return reasons
  }

  /** Stops reading a stream, and writes `chunks`, its rest, at the pace of the store. */
  async readRest(stream: Stream, chunks: Iterable<Uint8Array>): Promise<void> {
    const pipe = this.#open.get(stream)
    this.#open.delete(stream)
    // Bytes that `chunks` reads from the stream also reach its listeners, which would write them
    // twice.
    pipe?.pause().removeAllListeners('data')
    for (const chunk of chunks) {
      this.#output.write(stream, chunk)
      while (this.#output.full) await this.#output.moved.wait(this.#output.moved.count)
    }
  }

  /** Stops reading all streams. */
  destroy(): void {
    for (const pipe of this.#open.values()) pipe.destroy()
  }

  #read(stream: Stream, pipe: Readable): void {
    this.#open.set(stream, pipe)
    pipe.on('error', () => {})
    pipe.once('close', () => {
      this.#open.delete(stream)
      if (this.#open.size === 0) this.#closed.resolve()
    })
    pipe.resume()
  }

  /** Writes a chunk to the output, which copies it: its buffer is used for the next read. */
  #take(stream: Stream, chunk: Uint8Array): void {
    this.#output.write(stream, chunk)
    if (this.#output.full && !this.#paused) void this.#pause()
  }

  async #pause(): Promise<void> {
    this.#paused = true
    for (const pipe of this.#open.values()) pipe.pause()
    while (this.#output.full) await this.#output.moved.wait(this.#output.moved.count)
    this.#paused = false
    for (const pipe of this.#open.values()) pipe.resume()
  }
}
