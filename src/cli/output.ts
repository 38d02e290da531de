/** stdout and stderr with back-pressure, and with colours where a person reads them: the only import of picocolors. See
 *  rfc/13.
 *  Invariant: a write resolves when the stream takes more, so that a command holds at most one
 *  chunk besides the stream's own buffer; a reader that went away is a BrokenPipe, never a crash. */

import { once } from 'node:events'
import { fstatSync } from 'node:fs'
import type { Writable } from 'node:stream'
import pico from 'picocolors'
import { onAbort } from '../base/abort.js'
import { deferred } from '../base/deferred.js'
import { onReaderGone } from '../base/posix.js'
import { isCode } from '../error.js'
import { escaped, jsonLine } from './quote.js'

const newline = 10

export const colorWords = ['auto', 'always', 'never'] as const
export type Color = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'blue'
/** A line whose parts may have colours. The text of each part is escaped like a whole line. */
export type Line = string | readonly (string | { readonly color: Color; readonly text: string })[]

/** True if colours are written. `when`, the value of `--color`, decides first, then NO_COLOR, FORCE_COLOR, and the kind of
 *  the stream. */
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
  /** It is a terminal that can take a line back. */
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

  /** Columns of the terminal as it is now. */
  get columns(): number {
    return this.#terminal.columns || 80
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

  /** Text in a colour, where there are colours. REQUIRES: it is our own, since it is not escaped. */
  painted(color: Color, text: string): string {
    return this.#colors[color](text)
  }

  /** One line, whatever is in the text. */
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
