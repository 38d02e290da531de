/** The principals of a server: the owner, and the holders of access tokens. See rfc/28, rules 1 and
 *  7.
 *  Invariant: what a principal has open is ended within a second of the moment in which its token
 *  was revoked or has expired. What is opened later is refused. */

import { Alarm } from '../base/alarm.js'
import { TailraceError } from '../error.js'
import { Grants } from '../rights/grants.js'
import type { LimitedStore } from '../rights/served-store.js'
import type { HeldToken, TokenBook } from '../rights/tokens.js'
import { isToken } from './access.js'
import type { ServerContext } from './context.js'
import { Principal, type PrincipalSource } from './principal.js'

/** The longest time between two looks at the wall clock, in ms: it may be set, and goes on while the
 *  machine sleeps. */
const wallLookMs = 60_000

type PrincipalsPorts = {
  /** The context, without a store. */
  readonly context: Omit<ServerContext, 'store' | 'checkOwner'>
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
  readonly #listening: Disposable
  readonly #alarm: Alarm

  /** REQUIRES: the tokens were loaded. */
  constructor(ports: PrincipalsPorts) {
    this.#ports = ports
    const { context, store, tokens } = ports
    this.owner = new Principal(undefined)
    this.#contexts.set(this.owner, { ...context, store, checkOwner: () => {} })
    this.stranger = this.#limited(new Grants({ id: 'none', name: 'none' }, []))
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

  [Symbol.dispose](): void {
    this.#listening[Symbol.dispose]()
    this.#alarm[Symbol.dispose]()
    this.#known.clear()
  }

  #holderOf({ token, grants }: HeldToken): Principal {
    const known = this.#known.get(token.id)
    if (known) return known
    const principal = this.#limited(grants)
    this.#known.set(token.id, principal)
    this.#alarm.by(token.expires)
    return principal
  }

  #limited(grants: Grants): Principal {
    const { context, limitedTo } = this.#ports
    const principal = new Principal(grants.id)
    const checkOwner = (act: string) => grants.refuse(act, 'it is for the owner')
    this.#contexts.set(principal, { ...context, store: limitedTo(grants), checkOwner })
    return principal
  }

  /** Ends the principals whose tokens were revoked, or have expired. */
  #endThoseOver(): void {
    for (const [id, principal] of this.#known) {
      const found = this.#ports.tokens.byId(id)
      if (found) {
        this.#alarm.by(found.token.expires)
        continue
      }
      this.#known.delete(id)
      principal.end(new TailraceError('EUNAUTH', 'the token was revoked, or has expired'))
    }
  }
}
