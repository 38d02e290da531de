/** Ids of jobs: `f` and 12 base32 digits, which sort by time of submit. See rfc/11, rule 1.
 *  Invariant: each id is greater than the one before, even if the clock steps back, and after a
 *  restart (the constructor takes the newest stored id). */

import type { Environment } from '../base/environment.js'

/** The digits of base32hex (RFC 4648) in lower case. Their order is that of their ASCII codes. */
const digits = '0123456789abcdefghijklmnopqrstuv'
const pattern = /^f[0-9a-v]{12}$/
const length = 12
/** The number of ids in one millisecond. Further ids run ahead of the clock. */
const perMs = 1 << 15

/** Returns true if the text has the form of a job's id. */
export function isJobId(input: string): boolean {
  return pattern.test(input)
}

/** Mirrors an id: each digit `d` becomes `31 - d`, so that an ascending listing of mirrored ids is
 *  newest first. Mirroring twice gives the id. REQUIRES: `isJobId(id)`. */
export function mirrored(id: string): string {
  let text = 'f'
  for (const digit of id.slice(1)) text += digits[31 - digits.indexOf(digit)] ?? ''
  return text
}

/** Returns the time of submit in an id, in ms since 1970. It is later than the real time if ids ran
 *  ahead of the clock. REQUIRES: `isJobId(id)`. */
export function submitTimeOf(id: string): number {
  return numberOf(id.slice(1, 10))
}

export class JobIds {
  readonly #environment: Environment
  /** The milliseconds and the counter of the last id. Only the constructor and `next` write
   *  them. */
  #ms = 0
  #counter = 0

  /** Takes the newest stored id. */
  constructor(environment: Environment, last?: string) {
    this.#environment = environment
    if (last === undefined || !isJobId(last)) return
    this.#ms = submitTimeOf(last)
    this.#counter = numberOf(last.slice(10))
  }

  /** Makes the next id. */
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
