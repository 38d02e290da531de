/** stdout and stderr with back-pressure. See rfc/13.
 *  Invariant: a write resolves when the stream takes more, so that a command holds at most one
 *  chunk besides the stream's own buffer; a reader that went away is a BrokenPipe, never a crash. */

import { once } from 'node:events'
import { fstatSync } from 'node:fs'
import type { Writable } from 'node:stream'
import { deferred } from '../base/deferred.js'
import { onAbort } from '../base/on-abort.js'
import { onReaderGone } from '../base/posix.js'
import { isCode } from '../error.js'
import { escaped, jsonLine } from './quote.js'

const newline = 10

/** The reader of our output has gone: end quietly. */
export class BrokenPipe extends Error {
  constructor() {
    super('the reader of the output has gone')
    this.name = 'BrokenPipe'
  }
}

export class Output {
  readonly #stream: Writable
  readonly #descriptor: number | undefined
  #isMidLine = false
  readonly #broken = new AbortController()
  /** A person reads it. */
  readonly isTerminal: boolean
  /** Columns of the terminal. */
  readonly columns: number

  constructor(
    stream: Writable & {
      readonly isTTY?: boolean
      readonly columns?: number
      readonly fd?: number
    },
  ) {
    this.#stream = stream
    this.#descriptor = stream.fd
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
    if (bytes.length > 0) this.#isMidLine = bytes.at(-1) !== newline && bytes.at(-1) !== '\n'
    if (this.#stream.write(bytes)) return
    try {
      await once(this.#stream, 'drain', { signal: this.#broken.signal })
    } catch (error) {
      this.#check()
      throw error
    }
  }

  /** Waits for `work`, which may print nothing for long. Throws BrokenPipe as soon as the reader has gone,
   *  where a write would find that out with the next byte; `work` goes on, unheard. */
  async whileRead<T>(work: Promise<T>): Promise<T> {
    this.#check()
    const gone = deferred<never>()
    const endBroken = onAbort(this.broken, () => gone.reject(this.broken.reason))
    const watch = this.#watchReader()
    try {
      return await Promise.race([work, gone.promise])
    } finally {
      watch?.[Symbol.dispose]()
      endBroken()
    }
  }

  /** Nothing where the system cannot tell, or there is no reader: a file, a terminal (it sends SIGHUP). */
  #watchReader(): Disposable | undefined {
    if (this.#descriptor === undefined) return undefined
    const stats = fstatSync(this.#descriptor)
    if (!stats.isFIFO() && !stats.isSocket()) return undefined
    try {
      return onReaderGone(this.#descriptor, () => this.#broken.abort(new BrokenPipe()))
    } catch (error) {
      if (isCode(error, 'EMISCONFIGURED')) return undefined // The next write finds out.
      throw error
    }
  }

  /** One line, whatever is in the text. */
  async line(text: string): Promise<void> {
    await this.lines([text])
  }

  async lines(texts: readonly string[]): Promise<void> {
    await this.write(texts.map((text) => `${escaped(text)}\n`).join(''))
  }

  /** One JSON value on one line. */
  async json(value: unknown): Promise<void> {
    await this.line(jsonLine(value))
  }

  /** Ends a line that was begun, so that what follows stands on one of its own. */
  async endLine(): Promise<void> {
    if (this.#isMidLine) await this.write('\n')
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
