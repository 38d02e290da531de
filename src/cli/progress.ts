/** Progress of long work, for people: one line on a terminal that says how far it is. See
 *  rfc/13, rule 31, which also says why no library draws it.
 *  Invariant: it draws when it is told of progress, once in `drawMs` at most, and runs no timer. It
 *  changes no state of the terminal, and its line is gone when the work ends, however it ends.
 *  Nothing is written elsewhere than to a terminal. */

import type { Output } from './output.js'
import { escaped } from './quote.js'
import { sizeText } from './units.js'

/** The time before the line is first drawn, in ms. Shorter work shows nothing. */
const firstMs = 500
/** The shortest time between two drawings, in ms. */
const drawMs = 100
const barWidth = 24
const clearLine = '\r\x1b[K'

export class Progress implements AsyncDisposable {
  readonly #output: Output
  readonly #now: () => number
  #started: number
  #drawn = Number.NEGATIVE_INFINITY
  #isShown = false
  readonly #clearAtExit = () => void this.clear()

  /** Begins the work. `now` is a clock in ms. */
  constructor(output: Output, now = () => performance.now()) {
    this.#output = output
    this.#now = now
    this.#started = now()
  }

  /** Counts the time of the work from now on. Call it where another part of the work begins. */
  restart(): void {
    this.#started = this.#now()
  }

  /** Draws the line again, unless it was drawn just before. `text` is called only if its text is
   *  shown; it gets the time of the work, in ms. */
  async show(text: (ms: number) => string): Promise<void> {
    if (!this.#output.canRedraw) return
    const now = this.#now()
    const ms = now - this.#started
    if (ms < firstMs || now - this.#drawn < drawMs) return
    this.#drawn = now
    // An interrupt ends this process by `process.exit`.
    if (!this.#isShown) process.once('exit', this.#clearAtExit)
    this.#isShown = true
    const { columns } = this.#output
    await this.#write(clearLine + escaped(text(ms)).slice(0, columns - 1))
  }

  /** Takes the line off the terminal, before something else is written there. */
  async clear(): Promise<void> {
    if (!this.#isShown) return
    this.#isShown = false
    process.off('exit', this.#clearAtExit)
    await this.#write(clearLine)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.clear()
  }

  /** Writes text, and never throws: work does not end because its terminal has gone. */
  async #write(text: string): Promise<void> {
    await this.#output.write(text).catch(() => {})
  }
}

/** The state of a transfer. */
type Transfer = {
  readonly title: string
  /** The number of bytes so far. */
  readonly done: number
  /** The number of bytes in all, where it is known. */
  readonly total?: number | undefined
  /** The time since the first byte, ms. */
  readonly ms: number
}

/** Returns the line of a transfer: a bar, the part in percent, bytes, rate and the time that is
 *  left; without a total the bytes and the rate only. */
export function transferText({ title, done, total, ms }: Transfer): string {
  const rate = `${sizeText(Math.round((done / Math.max(1, ms)) * 1_000))}/s`
  if (total === undefined) return `${title} ${sizeText(done)}  ${rate}`
  const part = total === 0 ? 1 : Math.min(1, done / total)
  const filled = Math.floor(part * barWidth)
  const bar = '#'.repeat(filled) + '.'.repeat(barWidth - filled)
  const percent = String(Math.floor(part * 100)).padStart(3)
  const left = part === 0 ? '' : `  ${timeText((ms * (1 - part)) / part)} left`
  return `${title} [${bar}] ${percent} %  ${sizeText(done)} of ${sizeText(total)}  ${rate}${left}`
}

/** Returns a length of time for people: `8 s`, `3 min`, `2 h`. */
function timeText(ms: number): string {
  const seconds = Math.ceil(ms / 1_000)
  if (seconds < 100) return `${seconds} s`
  const minutes = Math.round(seconds / 60)
  return minutes < 100 ? `${minutes} min` : `${Math.round(minutes / 60)} h`
}

/** Passes chunks on, and shows their progress. */
export async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  output: Output,
  { title, total }: Pick<Transfer, 'title' | 'total'>,
): AsyncGenerator<Uint8Array, void, undefined> {
  await using progress = new Progress(output)
  let done = 0
  for await (const chunk of chunks) {
    done += chunk.length
    await progress.show((ms) => transferText({ title, done, total, ms }))
    yield chunk
  }
}
