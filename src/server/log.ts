/** The server's log: what the store or the program did wrong, not what a client did. See rfc/12, rule 3, and
 *  rfc/13, rule 26.
 *  Invariant: a flood of one kind of failure takes a bounded number of lines, says how many it left out, and
 *  keeps no other kind out of the log. A write to the log never throws. */

import type { Environment } from '../base/environment.js'
import { TailraceError, toTailraceError } from '../error.js'
import { statusOf } from '../wire/status.js'

/** Lines of one kind that are written at once; after them one in each `kindPaceMs`. */
export const kindBurst = 20
export const kindPaceMs = 10_000
/** UTF-16 units of what a line quotes of a request, and of a whole line. */
const placeSizeMax = 256
const lineSizeMax = 4_096

/** Kinds are the codes that mean a fault, and `bug` for what nobody foresaw: a closed list. */
type Kind = {
  /** Lines that may be written now, parts of one too. */
  allowed: number
  /** Monotonic clock. */
  countedAt: number
  /** Lines that were not written since the last one that was. */
  dropped: number
  timer?: Disposable
}

export class Log {
  readonly #write: (line: string) => void
  readonly #environment: Environment
  readonly #kinds = new Map<string, Kind>()

  /** `write` takes a line without its end. */
  constructor(write: (line: string) => void, environment: Environment) {
    this.#write = write
    this.#environment = environment
  }

  /** A line of the server's own, which no request causes. */
  line(text: string): void {
    this.#write(cut(text, lineSizeMax))
  }

  /** An error that a request met, if it is not the caller's. `where`: what was asked. */
  fault(where: string, thrown: unknown): void {
    const { code, message } = toTailraceError(thrown)
    if (statusOf(code) !== 500) return
    const foreseen = thrown instanceof TailraceError
    const text = foreseen
      ? `${code}: ${message}`
      : thrown instanceof Error
        ? (thrown.stack ?? thrown.message)
        : String(thrown)
    this.#kindLine(foreseen ? code : 'bug', `${cut(where, placeSizeMax)}: ${text}`)
  }

  /** Says what was not written, and waits for nothing more. */
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
