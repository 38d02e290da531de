/** A principal: the owner, or the holder of an access token, as a sender of requests. See rfc/28,
 *  rules 1 and 7. */

import type { TailraceError } from '../error.js'

/** Ends a request or a websocket whose principal may go on no more. */
type End = (reason: TailraceError) => void

/** A sender of requests, and what it has open. Mutable; `Principals` makes and ends it. */
export class Principal {
  /** The id of the access token; undefined for the owner. */
  readonly id: string | undefined
  readonly #open = new Set<End>()
  /** Why it has ended. */
  #ended: TailraceError | undefined

  constructor(id: string | undefined) {
    this.id = id
  }

  get isOwner(): boolean {
    return this.id === undefined
  }

  /** Calls `end` once the token of the principal is worth nothing any more, unless the hold is released
   *  before. The owner's is never called. Throws EUNAUTH if the token is worth nothing already: a
   *  request may have waited behind others of its connection. */
  hold(end: End): { readonly release: () => void } {
    if (this.isOwner) return { release: () => {} }
    if (this.#ended) throw this.#ended
    this.#open.add(end)
    return { release: () => void this.#open.delete(end) }
  }

  /** Ends all that is open, and lets nothing be opened any more. REQUIRES: not the owner. */
  end(reason: TailraceError): void {
    this.#ended = reason
    const open = [...this.#open]
    this.#open.clear()
    for (const end of open) end(reason)
  }
}

/** The key or the job of a link: `LinkSubject` of the rights. */
type Linked = {
  readonly what: 'key' | 'job'
  readonly namespace: string
  readonly key: string
}

/** Tells who sends a request. `Principals` implements it. */
export type PrincipalSource = {
  readonly owner: Principal
  /** The principal of those who brought no token. It may do nothing. */
  readonly stranger: Principal
  /** Returns the principal that a token names. Throws EUNAUTH. */
  of(text: string | undefined): Principal
  /** Returns the principal that a ticket stands for, and forgets the ticket. Throws EUNAUTH. */
  ofTicket(text: string): Principal
  /** Returns the principal that has made a link of the subject, and the time for which the link is good,
   *  in ms. Throws EUNAUTH. */
  ofLink(
    text: string,
    subject: Linked,
  ): { readonly principal: Principal; readonly leftMs: number; readonly follow: boolean }
}
