/** Who may commit to a namespace, in one process: owners and deadlines in memory, epochs from
 *  whoever keeps them. See rfc/4.
 *  Invariant: an epoch belongs to one grant; a grant that ran out or was forgotten by a restart is
 *  followed by a higher epoch. */

import type { Environment } from '../base/environment.js'
import { TailraceError } from '../error.js'

type Grant = {
  readonly incarnation: string
  readonly owner: string
  readonly epoch: number
  readonly deadline: number
}

export class CommitLeases {
  readonly #environment: Environment
  /** By namespace; at most one for each that is there, written by `grant` and `forget` only. */
  readonly #grants = new Map<string, Grant>()

  constructor(environment: Environment) {
    this.#environment = environment
  }

  /** Renews the owner's own lease and gives its epoch; undefined: nobody holds one, so take a new
   *  epoch and `grant` it. Throws EBUSY while another owner holds it. */
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

  grant(namespace: string, incarnation: string, owner: string, ttlMs: number, epoch: number): void {
    const deadline = this.#environment.monotonic() + ttlMs
    this.#grants.set(namespace, { incarnation, owner, epoch, deadline })
  }

  forget(namespace: string): void {
    this.#grants.delete(namespace)
  }
}
