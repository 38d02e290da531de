/** Values on their way to stdout: as they are, but a person's terminal gets text only. See rfc/13, rule 22.
 *  Invariant: without `force` a terminal gets no byte that is not of well-formed UTF-8, and no control but
 *  newlines, tabs and colours. To anything else every byte goes as it is. */

import { UsageError } from './command.js'
import type { Output } from './output.js'

/** Bytes of a value that are held until it is known whether all of it is text. */
export const heldMax = 1024 * 1024
const newline = 10

/** Characters that a terminal may act on: all controls but tabs, newlines and the colours of text. */
const control =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is about controls
  /(?!\r\n|[\t\n]|\x1b\[[0-9;:]*m)[\p{Cc}\p{Zl}\p{Zp}]|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u
/** The begin of what is allowed, at the end of a chunk. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it is about controls
const unfinished = /(?:\r|\x1b(?:\[[0-9;:]{0,32})?)$/

export class ValueOutput {
  readonly #output: Output
  readonly #isChecked: boolean
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  /** Decoded, not yet written; the bytes of it, and those of a character that is not whole. */
  #held: Uint8Array[] = []
  #heldSize = 0
  /** The end of what was looked at, which the next chunk goes on with. */
  #tail = ''
  #isOpen = false
  readonly #isLine: boolean
  #last: number | undefined

  /** `isLine`: the value stands on lines of its own, also where no person reads it. */
  constructor(output: Output, options: { readonly force: boolean; readonly isLine?: boolean }) {
    this.#output = output
    this.#isChecked = output.isTerminal && !options.force
    this.#isLine = options.isLine === true
    this.#last = this.#isLine ? undefined : newline
  }

  /** Throws UsageError for bytes that a terminal does not get; BrokenPipe. */
  async write(bytes: Uint8Array): Promise<void> {
    this.#last = bytes.at(-1) ?? this.#last
    if (!this.#isChecked) return this.#output.write(bytes)
    this.#check(bytes, false)
    if (this.#isOpen) return this.#output.write(bytes)
    this.#held.push(bytes)
    this.#heldSize += bytes.length
    if (this.#heldSize > heldMax) await this.release()
  }

  /** Ends a value; on a terminal, and where it is to be lines, with a newline if it has none. Throws as
   *  `write`. */
  async end(): Promise<void> {
    if (this.#isChecked) {
      this.#check(new Uint8Array(0), true)
      await this.release()
    }
    const isLine = this.#isLine || this.#output.isTerminal
    if (isLine && this.#last !== newline) await this.#output.write('\n')
  }

  /** Writes the held bytes now, and later bytes at once, without waiting for the end. */
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
