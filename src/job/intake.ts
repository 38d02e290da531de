/** Reads the pipes of a process into its output, no faster than the store takes it. See rfc/11.
 *  Invariant: bytes are never looked at as text; while the output is full, no pipe is read. */

import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net'
import type { Readable } from 'node:stream'
import { deferred } from '../base/deferred.js'
import type { Stream } from '../eventlog/stdio.js'
import type { OutputWriter } from './output.js'

/** Bytes of one read: what a pipe holds. */
const readSize = 64 * 1024

/** Of each stream why it ended before its writers did. */
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

  /** Reads a descriptor, and closes it at its end: into one buffer, again and again. */
  readDescriptor(stream: Stream, fd: number): void {
    const buffer = Buffer.allocUnsafeSlow(readSize)
    const callback = (size: number) => {
      this.#take(stream, buffer.subarray(0, size))
      return !this.#paused
    }
    // As `net.connect` has it (the types know it there only).
    const options: SocketConstructorOpts & { readonly onread: OnReadOpts } = {
      fd,
      readable: true,
      writable: false,
      onread: { buffer, callback },
    }
    this.#read(stream, new Socket(options))
  }

  readStream(stream: Stream, pipe: Readable): void {
    pipe.on('data', (chunk: Uint8Array) => this.#take(stream, chunk))
    this.#read(stream, pipe)
  }

  /** Bytes of stderr come by the pipe of stdout. */
  merge(): void {
    this.#merged = true
  }

  /** Waits for the ends of all streams, at most `heldMs` in which they could be read; then closes
   *  those that somebody still holds open. */
  async drain(heldMs: number): Promise<Reasons> {
    const reasons: { [stream in Stream]?: string } = this.#merged ? { stderr: 'merged' } : {}
    const give = () => {
      // Nobody read while the store was behind: what stands in the pipe may be the process's own.
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

  /** Reads no more by itself: takes what is left, at the pace of the store. */
  async readRest(stream: Stream, chunks: Iterable<Uint8Array>): Promise<void> {
    const pipe = this.#open.get(stream)
    this.#open.delete(stream)
    // What `chunks` reads of it is told to its listeners as well: it would be written twice.
    pipe?.pause().removeAllListeners('data')
    for (const chunk of chunks) {
      this.#output.write(stream, chunk)
      while (this.#output.full) await this.#output.moved.wait(this.#output.moved.count)
    }
  }

  /** Reads no more. */
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

  /** REQUIRES: `chunk` is copied before this returns. */
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
