/** The log of the server: faults of the store and of the program, and what the server does; not mistakes of
 *  clients, unless each request is logged. See rfc/12, rule 3, rfc/13, rule 26, and rfc/29, rules 7 to 9.
 *  Invariant: each kind of fault has its own bound on lines, so that a flood of one kind keeps out
 *  no other. The log says how many lines were left out. A write to the log never throws. No secret of a
 *  request stands in it. */

import type { Environment } from '../base/environment.js'
import { TailraceError, toTailraceError } from '../error.js'
import { type LogFormat, type LogLevel, logLevelDefault } from '../local/log-file.js'
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

/** The importance of a level, 0 being the most important: each request asks for it. */
const ranks: Readonly<Record<LogLevel, number>> = { error: 0, warn: 1, info: 2, debug: 3 }

/** The lines that a log has, and their form. */
export type LogLines = {
  /** The least important level that is written. `debug` has a line for each request. Default: `info`. */
  readonly level?: LogLevel | undefined
  /** Default: `text`. */
  readonly format?: LogFormat | undefined
}

/** The fields of a line besides its time, level and message. */
type Fields = Readonly<Record<string, string | number>>

/** A request that has ended. */
export type EndedRequest = {
  readonly way: 'http' | 'websocket'
  /** The id of the request (rfc/29, rule 8). */
  readonly request: string
  /** `GET /v1/kv/a`, or the name of the request of a frame. */
  readonly what: string
  /** The status of the answer, or the code of the error; `ok` over the websocket. */
  readonly outcome: string | number
  /** The time that it took, in ms. */
  readonly ms: number
  /** The id of the access token; `owner`. */
  readonly token: string
}

/** Writes the log of one server. */
export class Log {
  readonly #write: (line: string) => void
  readonly #environment: Environment
  readonly #format: LogFormat
  readonly #kinds = new Map<string, Kind>()
  #level: LogLevel

  /** `write` takes a line without its line end, and never throws. */
  constructor(
    write: (line: string) => void,
    environment: Environment,
    { level = logLevelDefault, format = 'text' }: LogLines = {},
  ) {
    this.#write = write
    this.#environment = environment
    this.#level = level
    this.#format = format
  }

  get level(): LogLevel {
    return this.#level
  }

  /** Writes lines of this level, and of more important ones, from now on. */
  set level(level: LogLevel) {
    this.#level = level
  }

  /** True if lines of the level are written. */
  takes(level: LogLevel): boolean {
    return ranks[level] <= ranks[this.#level]
  }

  /** Writes a line that no request has caused. */
  line(text: string, level: LogLevel = 'info', fields: Fields = {}): void {
    if (this.takes(level)) this.#write(this.#formatted(level, cut(text, lineSizeMax), fields))
  }

  /** Writes a line of a request that has ended, if each one is logged. */
  request({ what, ...fields }: EndedRequest): void {
    this.line(cut(withoutSecrets(what), placeSizeMax), 'debug', fields)
  }

  /** Writes the error of a request if it is a fault, a code with the status 500. `where` names the
   *  request, and `request` is its id. */
  fault(where: string, thrown: unknown, request?: string): void {
    const { code, message } = toTailraceError(thrown)
    if (statusOf(code) !== 500) return
    const foreseen = thrown instanceof TailraceError
    const text = foreseen
      ? `${code}: ${message}`
      : thrown instanceof Error
        ? (thrown.stack ?? thrown.message)
        : String(thrown)
    const line = `${cut(withoutSecrets(where), placeSizeMax)}: ${text}`
    this.#kindLine(foreseen ? code : 'bug', line, {
      code,
      ...(request !== undefined && { request }),
    })
  }

  /** Writes how many lines were left out, and ends all timers. */
  close(): void {
    for (const [name, kind] of this.#kinds) this.#tellDropped(name, kind)
  }

  #kindLine(name: string, text: string, fields: Fields): void {
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
    this.line(text, 'error', fields)
  }

  #formatted(level: LogLevel, message: string, fields: Fields): string {
    const time = new Date(this.#environment.now()).toISOString()
    if (this.#format === 'json') return JSON.stringify({ time, level, message, ...fields })
    const named = Object.entries(fields).map(([name, value]) => ` ${name}=${value}`)
    // Indents further lines, so that no text of a client looks like a line of the log.
    const [first = '', ...others] = message.replace(unsafe, codeOf).split('\n')
    return [`${time} ${level} ${first}${named.join('')}`, ...others].join('\n\t')
  }

  #tellDropped(name: string, kind: Kind): void {
    kind.timer?.[Symbol.dispose]()
    delete kind.timer
    if (kind.dropped === 0) return
    this.line(`${kind.dropped} lines more of ${name} were not written`, 'warn')
    kind.dropped = 0
  }
}

/** Characters on which a terminal or a reader of lines may act: controls but the newline, and what separates
 *  or reorders lines. */
const unsafe = /[^\P{C}\n]|[\u2028\u2029]/gu

function codeOf(character: string): string {
  return `\\u{${character.codePointAt(0)?.toString(16)}}`
}

function cut(text: string, sizeMax: number): string {
  return text.length <= sizeMax ? text : `${text.slice(0, sizeMax).toWellFormed()}…`
}

/** Returns a time in ms with two digits behind the point. */
export function roundedMs(ms: number): number {
  return Math.round(ms * 100) / 100
}
