/** The leaders of namespaces: who alone may commit, for engines of one process. Owners and deadlines
 *  are in memory; the engine keeps the epochs. See rfc/4, rule 10.
 *  Invariant: an epoch belongs to one grant. After a grant that ran out, or that a restart forgot,
 *  the next one has a higher epoch. */

import type { Environment } from '../base/environment.js'
import { TailraceError } from '../error.js'

type Grant = {
  readonly incarnation: string
  readonly owner: string
  readonly epoch: number
  readonly deadline: number
}

/** The grants of an engine. */
export class Leaders {
  readonly #environment: Environment
  /** The grants by namespace, at most one for each. */
  readonly #grants = new Map<string, Grant>()

  constructor(environment: Environment) {
    this.#environment = environment
  }

  /** Renews the leadership of `owner` for `ttlMs`, and returns its epoch. Undefined where nobody
   *  leads: then make a new epoch durable, and `grant` it. Throws EBUSY while another
   *  owner leads. */
  renew(namespace: string, incarnation: string, owner: string, ttlMs: number): number | undefined {
    const grant = this.#grants.get(namespace)
    const now = this.#environment.monotonic()
    if (!grant || grant.incarnation !== incarnation || grant.deadline <= now) return undefined
    if (grant.owner !== owner) {
      throw new TailraceError(
        'EBUSY',
        `${grant.owner} commits to namespace ${namespace} for another ${Math.ceil(grant.deadline - now)} ms: send commits there`,
      )
    }
    this.#grants.set(namespace, { ...grant, deadline: now + ttlMs })
    return grant.epoch
  }

  /** Grants the leadership for `ttlMs`. REQUIRES: the epoch is durable and new. */
  grant(namespace: string, incarnation: string, owner: string, ttlMs: number, epoch: number): void {
    const deadline = this.#environment.monotonic() + ttlMs
    this.#grants.set(namespace, { incarnation, owner, epoch, deadline })
  }

  /** Removes the grant of a namespace that was removed. */
  forget(namespace: string): void {
    this.#grants.delete(namespace)
  }
}
