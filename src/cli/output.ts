/** stdout and stderr with back-pressure. See rfc/13.
 *  Invariant: a write resolves when the stream takes more, so that a command holds at most one
 *  chunk besides the stream's own buffer; a reader that went away is a BrokenPipe, never a crash. */

import { once } from 'node:events'
import type { Writable } from 'node:stream'
import { deferred } from '../base/deferred.js'

/** The reader of our output has gone: end quietly. */
export class BrokenPipe extends Error {
  constructor() {
    super('the reader of the output has gone')
    this.name = 'BrokenPipe'
  }
}

export class Output {
  readonly #stream: Writable
  readonly #broken = new AbortController()
  /** A person reads it. */
  readonly isTerminal: boolean
  /** Columns of the terminal. */
  readonly columns: number

  constructor(stream: Writable & { readonly isTTY?: boolean; readonly columns?: number }) {
    this.#stream = stream
    this.isTerminal = stream.isTTY === true
    this.columns = stream.columns ?? 80
    stream.on('error', (error: NodeJS.ErrnoException) => {
      const gone = error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED'
      this.#broken.abort(gone ? new BrokenPipe() : error)
    })
  }

  /** Aborted with a BrokenPipe once a write found nobody at the other end. */
  get broken(): AbortSignal {
    return this.#broken.signal
  }

  /** Throws BrokenPipe. REQUIRES: `bytes` are not written again. */
  async write(bytes: Uint8Array | string): Promise<void> {
    this.#check()
    if (this.#stream.write(bytes)) return
    try {
      await once(this.#stream, 'drain', { signal: this.#broken.signal })
    } catch (error) {
      this.#check()
      throw error
    }
  }

  async line(text: string): Promise<void> {
    await this.write(`${text}\n`)
  }

  /** One JSON value on one line. */
  async json(value: unknown): Promise<void> {
    await this.line(JSON.stringify(value))
  }

  /** Resolves when everything was handed to the system, or nobody reads any more. Never throws. */
  async flush(): Promise<void> {
    if (this.#broken.signal.aborted) return
    const flushed = deferred<void>()
    this.#stream.write('', () => flushed.resolve())
    await flushed.promise
  }

  #check(): void {
    if (this.#broken.signal.aborted) throw this.#broken.signal.reason
  }
}
