/** A view of several lines on a terminal that is drawn again as what it shows changes. See rfc/26,
 *  rule 10, and rfc/13, rule 31, for one line.
 *  Invariant: it writes at the place of its last drawing only, and leaves the last state there. What
 *  changed within `drawMs` of a drawing is drawn when that time is over. */

import { startTimer } from '../base/timer.js'
import type { Line, Output } from './output.js'

/** The shortest time between two drawings, in ms. */
const drawMs = 100

/** The view. Mutable; owned by its command. */
export class View implements AsyncDisposable {
  readonly #output: Output
  #drawnLines = 0
  #drawnAt = Number.NEGATIVE_INFINITY
  #due: (() => readonly Line[]) | undefined
  #stopTimer: (() => void) | undefined

  constructor(output: Output) {
    this.#output = output
  }

  /** Shows lines in place of those before. `lines` is called only if it is drawn. */
  async show(lines: () => readonly Line[]): Promise<void> {
    this.#due = lines
    const wait = this.#drawnAt + drawMs - performance.now()
    if (wait <= 0) return this.#draw()
    this.#stopTimer ??= startTimer(wait, () => {
      this.#stopTimer = undefined
      // A reader that has gone is noticed by the command.
      this.#draw().catch(() => {})
    })
  }

  /** Draws what is due. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopTimer?.()
    await this.#draw()
  }

  async #draw(): Promise<void> {
    const due = this.#due
    if (!due) return
    this.#due = undefined
    this.#drawnAt = performance.now()
    const lines = due().map((line) => cut(line, this.#output.columns - 1))
    const up = this.#drawnLines > 0 ? `\x1b[${this.#drawnLines}A` : ''
    this.#drawnLines = lines.length
    await this.#output.write(`${up}\r\x1b[J`)
    await this.#output.lines(lines)
  }
}

/** Cuts a line to a number of columns, since one that wraps would take two. */
function cut(line: Line, columns: number): Line {
  if (typeof line === 'string') return line.slice(0, columns)
  let left = columns
  return line.map((part) => {
    const text = (typeof part === 'string' ? part : part.text).slice(0, Math.max(0, left))
    left -= text.length
    return typeof part === 'string' ? text : { ...part, text }
  })
}
