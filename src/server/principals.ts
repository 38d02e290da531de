/** The principals of a server: the owner, and the holders of access tokens. See rfc/28, rules 1 and
 *  7.
 *  Invariant: what a principal has open is ended within a second of the moment in which its token
 *  was revoked or has expired. What is opened later is refused. */

import { randomBytes } from 'node:crypto'
import type { AccessToken } from '../api/access.js'
import { Alarm } from '../base/alarm.js'
import { TailraceError } from '../error.js'
import { Grants } from '../rights/grants.js'
import type { LimitedStore } from '../rights/served-store.js'
import type { HeldToken, LinkSubject, TokenBook } from '../rights/tokens.js'
import { isToken } from './access.js'
import type { ServerContext, Ticket } from './context.js'
import { Principal, type PrincipalSource } from './principal.js'
import { RateBucket, takeFromAll } from './rate.js'

/** The longest time between two looks at the wall clock, in ms: it may be set, and goes on while the
 *  machine sleeps. */
const wallLookMs = 60_000
/** The time for which a ticket is good, in ms. */
export const ticketMs = 30_000
/** The largest number of tickets that were not used, and of those of one principal but the owner: who
 *  makes many keeps nobody out. */
export const ticketsMax = 4_096
export const ticketsOfOneMax = 256
const ticketPrefix = 'ticket_'
const ticketSize = 32

/** The fields of a context that each principal has of its own, besides the store. */
type OfPrincipal = 'principalId' | 'checkOwner' | 'checkMetrics' | 'checkRate' | 'newTicket'

type PrincipalsPorts = {
  /** The context, without a store. */
  readonly context: Omit<ServerContext, 'store' | OfPrincipal>
  readonly store: LimitedStore
  /** The owner's token. */
  readonly token: string
  readonly tokens: TokenBook
  readonly limitedTo: (grants: Grants) => LimitedStore
}

/** The principals of one server. Mutable. */
export class Principals implements PrincipalSource, Disposable {
  readonly owner: Principal
  readonly stranger: Principal
  readonly #ports: PrincipalsPorts
  readonly #contexts = new WeakMap<Principal, ServerContext>()
  /** The principals whose tokens were brought, by the ids of the tokens. */
  readonly #known = new Map<string, Principal>()
  /** The rates of tokens, by their ids. */
  readonly #buckets = new Map<string, RateBucket>()
  /** The tickets that were not used, oldest first, and the time of each one's end on the monotonic
   *  clock. */
  readonly #tickets = new Map<string, { readonly principal: Principal; readonly until: number }>()
  readonly #listening: Disposable
  readonly #alarm: Alarm

  /** REQUIRES: the tokens were loaded. */
  constructor(ports: PrincipalsPorts) {
    this.#ports = ports
    const { context, store, tokens } = ports
    this.owner = new Principal(undefined)
    const newTicket = () => this.#newTicket(this.owner)
    const free = { checkOwner: () => {}, checkMetrics: () => {}, checkRate: () => {} }
    const principalId = 'owner'
    this.#contexts.set(this.owner, { ...context, store, principalId, ...free, newTicket })
    this.stranger = this.#limited(new Grants({ id: 'none', name: 'none' }, []), [])
    this.#listening = tokens.listen(() => this.#endThoseOver())
    const { now, timer } = context.environment
    const ring = () => this.#endThoseOver()
    this.#alarm = new Alarm(timer, { clock: now, ring, waitMsMax: wallLookMs })
  }

  /** Returns the context of a principal's requests, whose store gives what its grants say. */
  contextOf(principal: Principal): ServerContext {
    const context = this.#contexts.get(principal)
    if (context) return context
    throw new TypeError('a principal of another server')
  }

  of(text: string | undefined): Principal {
    const { token, tokens } = this.#ports
    if (text?.startsWith(ticketPrefix)) return this.ofTicket(text)
    if (text !== undefined) {
      if (isToken(token, text)) return this.owner
      const found = tokens.find(text)
      if (found) return this.#holderOf(found)
    }
    throw new TailraceError(
      'EUNAUTH',
      'a token is needed: `tailrace token` shows it; send it as "Authorization: Bearer TOKEN"',
    )
  }

  ofTicket(text: string): Principal {
    const found = this.#tickets.get(text)
    this.#tickets.delete(text)
    const { monotonic } = this.#ports.context.environment
    const isGood = found && found.until > monotonic() && this.#isInForce(found.principal)
    if (isGood) return found.principal
    throw new TailraceError('EUNAUTH', 'the ticket is not good, or was used: ask for another one')
  }

  ofLink(
    text: string,
    subject: LinkSubject,
  ): { readonly principal: Principal; readonly leftMs: number; readonly follow: boolean } {
    const { maker, ...link } = this.#ports.tokens.ofLink(text, subject)
    const principal = maker === 'owner' ? this.owner : this.#holderOf(maker)
    return { principal, ...link }
  }

  [Symbol.dispose](): void {
    this.#listening[Symbol.dispose]()
    this.#alarm[Symbol.dispose]()
    this.#known.clear()
  }

  #holderOf({ token, grants }: HeldToken): Principal {
    const known = this.#known.get(token.id)
    if (known) return known
    const principal = this.#limited(grants, this.#bucketsOf(token))
    this.#known.set(token.id, principal)
    this.#alarm.by(this.#ports.tokens.endOf(token.id) ?? 0)
    return principal
  }

  #limited(grants: Grants, buckets: readonly RateBucket[]): Principal {
    const { context, limitedTo } = this.#ports
    const principal = new Principal(grants.id)
    const checkOwner = (act: string) => grants.refuse(act, 'it is for the owner')
    const { monotonic } = context.environment
    const own = {
      principalId: grants.id,
      checkOwner,
      checkMetrics: () => grants.checkMetrics(),
      checkRate: () => takeFromAll(buckets, monotonic()),
      newTicket: () => this.#newTicket(principal),
    }
    this.#contexts.set(principal, { ...context, store: limitedTo(grants), ...own })
    return principal
  }

  /** Returns the buckets of a token and of those above it. */
  #bucketsOf(token: AccessToken): RateBucket[] {
    const buckets: RateBucket[] = []
    let each: AccessToken | undefined = token
    while (each) {
      const { id, rate, parent }: AccessToken = each
      if (rate !== undefined) {
        const bucket =
          this.#buckets.get(id) ?? new RateBucket(rate, this.#ports.context.environment.monotonic())
        this.#buckets.set(id, bucket)
        buckets.push(bucket)
      }
      each = parent === undefined ? undefined : this.#ports.tokens.byId(parent)?.token
    }
    return buckets
  }

  #isInForce({ id }: Principal): boolean {
    return id === undefined || this.#ports.tokens.byId(id) !== undefined
  }

  #newTicket(principal: Principal): Ticket {
    const { monotonic, now } = this.#ports.context.environment
    for (const [old, { until }] of this.#tickets) {
      if (until > monotonic()) break
      this.#tickets.delete(old)
    }
    const all = [...this.#tickets.values()]
    const own = all.filter((ticket) => ticket.principal === principal).length
    const isFull = all.length >= ticketsMax || (!principal.isOwner && own >= ticketsOfOneMax)
    if (isFull) {
      throw new TailraceError('EBUSY', `${own} tickets of yours wait to be used: try again later`)
    }
    const ticket = ticketPrefix + randomBytes(ticketSize).toString('base64url')
    this.#tickets.set(ticket, { principal, until: monotonic() + ticketMs })
    return { ticket, expires: now() + ticketMs }
  }

  /** Ends the principals whose tokens have ended, and forgets the rates of such tokens. */
  #endThoseOver(): void {
    const { tokens } = this.#ports
    for (const [id, principal] of this.#known) {
      const end = tokens.endOf(id)
      if (end !== undefined) {
        this.#alarm.by(end)
        continue
      }
      this.#known.delete(id)
      principal.end(new TailraceError('EUNAUTH', 'the token was revoked, or has expired'))
    }
    for (const id of this.#buckets.keys()) if (!tokens.byId(id)) this.#buckets.delete(id)
  }
}
