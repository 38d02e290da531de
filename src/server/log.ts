/** The log of the server: faults of the store and of the program, not mistakes of clients. See
 *  rfc/12, rule 3, and rfc/13, rule 26.
 *  Invariant: each kind of fault has its own bound on lines, so that a flood of one kind keeps out
 *  no other. The log says how many lines were left out. A write to the log never throws. */

import type { Environment } from '../base/environment.js'
import { TailraceError, toTailraceError } from '../error.js'
import { statusOf } from '../wire/status.js'
import { withoutSecrets } from './linked.js'

/** The largest number of lines of one kind in a burst. */
export const kindBurst = 20
/** The time after a burst for each further line of its kind, in ms. */
export const kindPaceMs = 10_000
/** The largest part of a line that quotes a request, in UTF-16 units. */
const placeSizeMax = 256
/** The largest line, in UTF-16 units. */
const lineSizeMax = 4_096

/** The state of one kind of fault. Its kind is the code of the error, or `bug` for an unforeseen
 *  error. So the kinds are a closed list. */
type Kind = {
  /** The number of lines that may be written now; it grows by fractions of a line. */
  allowed: number
  /** The time when `allowed` was computed, in ms of a monotonic clock. */
  countedAt: number
  /** The number of lines that were left out since the last line. */
  dropped: number
  timer?: Disposable
}

/** Writes the log of one server. */
export class Log {
  readonly #write: (line: string) => void
  readonly #environment: Environment
  readonly #kinds = new Map<string, Kind>()

  /** `write` takes a line without its line end, and never throws. */
  constructor(write: (line: string) => void, environment: Environment) {
    this.#write = write
    this.#environment = environment
  }

  /** Writes a line that no request has caused. */
  line(text: string): void {
    this.#write(cut(text, lineSizeMax))
  }

  /** Writes the error of a request if it is a fault, a code with the status 500. `where` names the
   *  request. */
  fault(where: string, thrown: unknown): void {
    const { code, message } = toTailraceError(thrown)
    if (statusOf(code) !== 500) return
    const foreseen = thrown instanceof TailraceError
    const text = foreseen
      ? `${code}: ${message}`
      : thrown instanceof Error
        ? (thrown.stack ?? thrown.message)
        : String(thrown)
    this.#kindLine(foreseen ? code : 'bug', `${cut(withoutSecrets(where), placeSizeMax)}: ${text}`)
  }

  /** Writes how many lines were left out, and ends all timers. */
  close(): void {
    for (const [name, kind] of this.#kinds) this.#tellDropped(name, kind)
  }

  #kindLine(name: string, text: string): void {
    const now = this.#environment.monotonic()
    const kind = this.#kinds.get(name) ?? { allowed: kindBurst, countedAt: now, dropped: 0 }
    this.#kinds.set(name, kind)
    kind.allowed = Math.min(kindBurst, kind.allowed + (now - kind.countedAt) / kindPaceMs)
    kind.countedAt = now
    if (kind.allowed < 1) {
      kind.dropped++
      kind.timer ??= this.#environment.timer(kindPaceMs, () => this.#tellDropped(name, kind))
      return
    }
    this.#tellDropped(name, kind)
    kind.allowed--
    this.line(text)
  }

  #tellDropped(name: string, kind: Kind): void {
    kind.timer?.[Symbol.dispose]()
    delete kind.timer
    if (kind.dropped === 0) return
    this.line(`${kind.dropped} lines more of ${name} were not written`)
    kind.dropped = 0
  }
}

function cut(text: string, sizeMax: number): string {
  return text.length <= sizeMax ? text : `${text.slice(0, sizeMax).toWellFormed()}…`
}
