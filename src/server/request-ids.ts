/** The ids of requests, by which a line of the log is found for an answer. See rfc/29, rule 8. */

/** The header in which a client may name its request, and which the answer of an error has. */
export const requestIdHeader = 'x-request-id'

/** The ids that a client may give: they stand in the log. */
const given = /^[\w.:-]{1,64}$/

/** The ids of the requests of one server. Mutable. */
export class RequestIds {
  /** Tells the ids of this server from those of one before. */
  readonly #prefix: string
  #count = 0

  /** `started`: the start of the server, in ms since 1970. */
  constructor(started: number) {
    this.#prefix = started.toString(36)
  }

  /** Returns the id that the client gave, or a new one. */
  of(header: string | readonly string[] | undefined): string {
    return typeof header === 'string' && given.test(header) ? header : this.next()
  }

  next(): string {
    this.#count++
    return `${this.#prefix}-${this.#count.toString(36)}`
  }
}
