/** Job ids: `f` and 12 base32 digits, which sort by time of submit. See rfc/11.
 *  Invariant: each id is greater than the one before, also where the clock steps back, and (since
 *  the newest stored id is handed in) after a restart. */

import type { Environment } from '../base/environment.js'

/** RFC 4648 base32hex in lower case: digits in the order of their ASCII codes. */
const digits = '0123456789abcdefghijklmnopqrstuv'
const pattern = /^f[0-9a-v]{12}$/
const length = 12
/** Ids of one millisecond; more of them run ahead of the clock. */
const perMs = 1 << 15

export function isJobId(input: string): boolean {
  return pattern.test(input)
}

/** The id whose order is the reverse: an ascending listing of mirrored ids is newest first.
 *  Its own inverse. REQUIRES: `isJobId(id)`. */
export function mirrored(id: string): string {
  let text = 'f'
  for (const digit of id.slice(1)) text += digits[31 - digits.indexOf(digit)] ?? ''
  return text
}

/** When it was submitted, ms since 1970; ahead of the clock where ids are. REQUIRES: `isJobId(id)`. */
export function submitTimeOf(id: string): number {
  return numberOf(id.slice(1, 10))
}

export class JobIds {
  readonly #environment: Environment
  /** Milliseconds and a counter, of the last id. Only `next` writes them. */
  #ms = 0
  #counter = 0

  /** `last`: the newest id that is stored. */
  constructor(environment: Environment, last?: string) {
    this.#environment = environment
    if (last === undefined || !isJobId(last)) return
    this.#ms = submitTimeOf(last)
    this.#counter = numberOf(last.slice(10))
  }

  next(): string {
    const now = Math.floor(this.#environment.now())
    if (now > this.#ms) {
      this.#ms = now
      this.#counter = 0
    } else if (++this.#counter === perMs) {
      this.#ms++
      this.#counter = 0
    }
    return `f${textOf(this.#ms, length - 3)}${textOf(this.#counter, 3)}`
  }
}

function numberOf(text: string): number {
  let value = 0
  for (const digit of text) value = value * 32 + digits.indexOf(digit)
  return value
}

function textOf(value: number, width: number): string {
  return value.toString(32).padStart(width, '0')
}
