/** Output of values: as they are, except that a terminal gets plain text only. See rfc/13, rule 22.
 *  Invariant: without `force` a terminal gets no byte that is not of well-formed UTF-8, and no
 *  control but newlines, tabs and colours. To anything else every byte goes as it is. */

import { UsageError } from './command.js'
import type { Output } from './output.js'

/** The number of bytes of a value that are held back until it is known whether all of it is
 *  text. */
export const heldMax = 1024 * 1024
const newline = 10

/** Matches characters that a terminal may act on: all controls but tabs, newlines and the colours
 *  of text. */
const control =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is about controls
  /(?!\r\n|[\t\n]|\x1b\[[0-9;:]*m)[\p{Cc}\p{Zl}\p{Zp}]|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u
/** Matches the beginning of an allowed sequence at the end of a chunk. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it is about controls
const unfinished = /(?:\r|\x1b(?:\[[0-9;:]{0,32})?)$/

export class ValueOutput {
  readonly #output: Output
  readonly #isChecked: boolean
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  /** Chunks that were checked, but are not written yet. */
  #held: Uint8Array[] = []
  #heldSize = 0
  /** The end of the checked text, which the next chunk may continue. */
  #tail = ''
  #isOpen = false
  readonly #isLine: boolean
  #last: number | undefined

  /** `isLine` is true if the value ends with a newline, even where no person reads it. */
  constructor(output: Output, options: { readonly force: boolean; readonly isLine?: boolean }) {
    this.#output = output
    this.#isChecked = output.isTerminal && !options.force
    this.#isLine = options.isLine === true
    this.#last = this.#isLine ? undefined : newline
  }

  /** Writes bytes of the value. Throws UsageError for bytes that a terminal does not get, and
   *  BrokenPipe. */
  async write(bytes: Uint8Array): Promise<void> {
    this.#last = bytes.at(-1) ?? this.#last
    if (!this.#isChecked) return this.#output.write(bytes)
    this.#check(bytes, false)
    if (this.#isOpen) return this.#output.write(bytes)
    this.#held.push(bytes)
    this.#heldSize += bytes.length
    if (this.#heldSize > heldMax) await this.release()
  }

  /** Ends a value. On a terminal, and with `isLine`, a newline follows a value that has none.
   *  Throws what `write` throws. */
  async end(): Promise<void> {
    if (this.#isChecked) {
      this.#check(new Uint8Array(0), true)
      await this.release()
    }
    const isLine = this.#isLine || this.#output.isTerminal
    if (isLine && this.#last !== newline) await this.#output.write('\n')
  }

  /** Writes the bytes that are held back, and later bytes at once. */
  async release(): Promise<void> {
    this.#isOpen = true
    for (const bytes of this.#held) await this.#output.write(bytes)
    this.#held = []
  }

  #check(bytes: Uint8Array, isEnd: boolean): void {
    const text = this.#tail + this.#decode(bytes, isEnd)
    this.#tail = isEnd ? '' : (unfinished.exec(text)?.[0] ?? '')
    if (control.test(text.slice(0, text.length - this.#tail.length))) throw this.#refusal()
  }

  #decode(bytes: Uint8Array, isEnd: boolean): string {
    try {
      return this.#decoder.decode(bytes, { stream: !isEnd })
    } catch {
      throw this.#refusal()
    }
  }

  #refusal(): UsageError {
    this.#held = []
    return new UsageError(
      'the value is not plain text, and a terminal would act on it: pipe it, or write it with --force',
    )
  }
}
