/** Progress of a long transfer, for people: a bar on a terminal, a few plain lines elsewhere.
 *  Invariant: it draws when it is told of bytes, once in `drawMs` at most; no timer. */

import type { Output } from './output.js'

const drawMs = 100
const barWidth = 24
/** Plain lines of one transfer. */
const plainLines = 4
const clearLine = '\r\x1b[K'

export class Progress {
  readonly #output: Output
  readonly #title: string
  readonly #total: number
  readonly #started = performance.now()
  #drawn = 0
  #lines = 0

  constructor(output: Output, title: string, total: number) {
    this.#output = output
    this.#title = title
    this.#total = total
  }

  /** So many bytes and appends are there by now. */
  async update(bytes: number, appends: number): Promise<void> {
    const now = performance.now()
    if (this.#output.isTerminal) {
      if (now - this.#drawn < drawMs) return
      this.#drawn = now
      await this.#output.write(clearLine + this.#text(bytes, appends, now).slice(0, this.#room))
    } else if (
      this.#lines < plainLines &&
      bytes >= (this.#total * (this.#lines + 1)) / plainLines
    ) {
      this.#lines++
      await this.#output.line(this.#text(bytes, appends, now))
    }
  }

  /** Takes the bar off the terminal. */
  async end(): Promise<void> {
    if (this.#output.isTerminal) await this.#output.write(clearLine)
  }

  get #room(): number {
    return this.#output.columns - 1
  }

  #text(bytes: number, appends: number, now: number): string {
    const part = this.#total === 0 ? 1 : bytes / this.#total
    const filled = Math.round(part * barWidth)
    const bar = `${'#'.repeat(filled)}${'.'.repeat(Math.max(0, barWidth - filled))}`
    const rate = megabytes(bytes / ((now - this.#started) / 1000))
    const percent = `${Math.floor(part * 100)}`.padStart(3)
    return `${this.#title} [${bar}] ${percent} %  ${megabytes(bytes)} MB  ${rate} MB/s  ${appends} appends`
  }
}

/** Millions of bytes, rounded. */
export function megabytes(bytes: number): string {
  return Math.round(bytes / 1e6).toString()
}
