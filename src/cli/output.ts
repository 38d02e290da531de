/** stdout and stderr with back-pressure, and with colours where a person reads them: the only
 *  import of picocolors. See rfc/13.
 *  Invariant: a write resolves when the stream takes more, so that a command holds at most one
 *  chunk besides the stream's own buffer; a reader that went away is a BrokenPipe, never a
 *  crash. */

import { once } from 'node:events'
import { fstatSync } from 'node:fs'
import type { Writable } from 'node:stream'
import pico from 'picocolors'
import { joinAbort, onAbort } from '../base/abort.js'
import { deferred } from '../base/deferred.js'
import { onReaderGone } from '../base/posix.js'
import { isCode } from '../error.js'
import { escaped, jsonLine } from './quote.js'

const newline = 10

export const colorWords = ['auto', 'always', 'never'] as const
export type Color = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'blue'
/** A line whose parts may have colours. The text of each part is escaped like a whole line. */
export type Line = string | readonly (string | { readonly color: Color; readonly text: string })[]

/** True if colours are written. `when`, the value of `--color`, decides first, then NO_COLOR,
 *  FORCE_COLOR, and the kind of the stream. */
export function hasColors(
  when: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
  isTerminal: boolean,
): boolean {
  if (when === 'always' || when === 'never') return when === 'always'
  if (environment['NO_COLOR']) return false
  const forced = environment['FORCE_COLOR']
  if (forced) return forced !== '0' && forced !== 'false'
  return isTerminal && environment['TERM'] !== 'dumb'
}

/** Error for an output that nobody reads any more. The command ends quietly. */
export class BrokenPipe extends Error {
  constructor() {
    super('the reader of the output has gone')
    this.name = 'BrokenPipe'
  }
}

/** The size of lent bytes below which they are copied. */
const copiedSizeMax = 16 * 1024

export class Output {
  readonly #stream: Writable
  readonly #descriptor: number | undefined
  #isMidLine = false
  readonly #broken = new AbortController()
  /** True if a person reads it. */
  readonly isTerminal: boolean
  /** True for a terminal on which a line can be drawn again. */
  readonly canRedraw: boolean
  readonly #terminal: { readonly columns?: number }
  readonly hasColors: boolean
  readonly #colors: ReturnType<typeof pico.createColors>

  constructor(
    stream: Writable & {
      readonly isTTY?: boolean
      readonly columns?: number
      readonly fd?: number
    },
    { colors = false, dumb = false }: { readonly colors?: boolean; readonly dumb?: boolean } = {},
  ) {
    this.hasColors = colors
    this.#colors = pico.createColors(colors)
    this.#stream = stream
    this.#descriptor = stream.fd
    this.isTerminal = stream.isTTY === true
    this.canRedraw = this.isTerminal && !dumb
    this.#terminal = stream
    stream.on('error', (error: NodeJS.ErrnoException) => {
      const gone = error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED'
      this.#broken.abort(gone ? new BrokenPipe() : error)
    })
  }

  /** The present width of the terminal, in columns. */
  get columns(): number {
    return this.#terminal.columns || 80
  }

  /** Aborted with a BrokenPipe once a write found nobody at the other end. */
  get broken(): AbortSignal {
    return this.#broken.signal
  }

  /** Writes bytes or text, and resolves when the stream takes more. Throws BrokenPipe. REQUIRES:
   *  the caller does not change `bytes` later. */
  async write(bytes: Uint8Array | string): Promise<void> {
    this.#begin(bytes)
    if (this.#stream.write(bytes)) return
    try {
      await once(this.#stream, 'drain', { signal: this.#broken.signal })
    } catch (error) {
      this.#check()
      throw error
    }
  }

  /** Writes bytes, and resolves when the stream has no more use for them: the caller may then write to
   *  their memory. Throws BrokenPipe. */
  async writeLent(bytes: Uint8Array): Promise<void> {
    // A copy of few bytes costs less than a wait.
    if (bytes.length < copiedSizeMax) return this.write(Buffer.from(bytes))
    this.#begin(bytes)
    const written = deferred<void>()
    this.#stream.write(bytes, () => written.resolve())
    await joinAbort(written.promise, this.#broken.signal).catch(() => {})
    this.#check()
  }

  /** Waits for `work`, which may print nothing for a long time. Throws BrokenPipe as soon as the
   *  reader has gone, where a write would notice it with the next byte only. `work` then goes on,
   *  and its result is dropped. */
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

  /** Watches for the reader to go. Returns undefined where the system cannot tell, and for a file
   *  or a terminal (which sends SIGHUP). */
  #watchReader(): Disposable | undefined {
    if (this.#descriptor === undefined) return undefined
    const stats = fstatSync(this.#descriptor)
    if (!stats.isFIFO() && !stats.isSocket()) return undefined
    try {
      return onReaderGone(this.#descriptor, () => this.#broken.abort(new BrokenPipe()))
    } catch (error) {
      if (isCode(error, 'EMISCONFIGURED')) return undefined // The next write notices it.
      throw error
    }
  }

  /** Returns text in a colour, where there are colours. REQUIRES: the text is the program's own,
   *  since it is not escaped. */
  painted(color: Color, text: string): string {
    return this.#colors[color](text)
  }

  /** Writes one line. Its text is escaped. */
  async line(line: Line): Promise<void> {
    await this.lines([line])
  }

  async lines(lines: readonly Line[]): Promise<void> {
    await this.write(lines.map((line) => `${this.#textOf(line)}\n`).join(''))
  }

  #textOf(line: Line): string {
    if (typeof line === 'string') return escaped(line)
    const parts = line.map((part) =>
      typeof part === 'string' ? escaped(part) : this.painted(part.color, escaped(part.text)),
    )
    return parts.join('')
  }

  /** Writes one JSON value on one line. */
  async json(value: unknown): Promise<void> {
    await this.line(jsonLine(value))
  }

  /** Ends a line that was begun, so that the next text begins a new one. */
  async endLine(): Promise<void> {
    if (this.#isMidLine) await this.write('\n')
  }

  /** Waits until everything was handed to the system, or nobody reads any more. Never throws. */
  async flush(): Promise<void> {
    if (this.#broken.signal.aborted) return
    const flushed = deferred<void>()
    this.#stream.write('', () => flushed.resolve())
    await flushed.promise
  }

  #begin(bytes: Uint8Array | string): void {
    this.#check()
    if (bytes.length > 0) this.#isMidLine = bytes.at(-1) !== newline && bytes.at(-1) !== '\n'
  }

  #check(): void {
    if (this.#broken.signal.aborted) throw this.#broken.signal.reason
  }
}
