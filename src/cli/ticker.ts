/** One line on a terminal that says how far something is; nothing elsewhere.
 *  Invariant: it draws when it is told, once in `drawMs` at most; no timer. */

import type { Output } from './output.js'
import { escaped } from './quote.js'

const drawMs = 100
const clearLine = '\r\x1b[K'

export class Ticker {
  readonly #output: Output
  #drawn = 0

  constructor(output: Output) {
    this.#output = output
  }

  /** `text` is asked for only if it is shown. */
  async update(text: () => string): Promise<void> {
    if (!this.#output.isTerminal) return
    const now = performance.now()
    if (now - this.#drawn < drawMs) return
    this.#drawn = now
    await this.#output.write(clearLine + escaped(text()).slice(0, this.#output.columns - 1))
  }

  /** Takes the line off the terminal. */
  async end(): Promise<void> {
    if (this.#output.isTerminal && this.#drawn > 0) await this.#output.write(clearLine)
  }
}

/** The same chunks; the ticker counts their bytes. */
export async function* ticked(
  chunks: AsyncIterable<Uint8Array>,
  ticker: Ticker,
  verb: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  const started = performance.now()
  let size = 0
  try {
    for await (const chunk of chunks) {
      size += chunk.length
      await ticker.update(() => {
        const rate = size / 1e6 / ((performance.now() - started) / 1_000)
        return `${verb} ${(size / 1e6).toFixed(0)} MB, ${rate.toFixed(0)} MB/s`
      })
      yield chunk
    }
  } finally {
    await ticker.end()
  }
}
