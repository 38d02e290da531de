/** What is asked of a lease, checked. See rfc/9.
 *  Invariant: what leaves here is within the bounds; whether the lease is held is the tree's to say. */

import type { LeaseAction, Token } from '../api/transaction.js'
import { TailraceError } from '../error.js'

/** ms. */
export const leaseTtlMax = 24 * 3_600_000
/** Bytes of the text that says who holds it. */
export const leaseOwnerSizeMax = 256
/** Leases held at once in one namespace. Above: EBUSY. */
export const leasesMax = 10_000

/** Throws EINVAL. */
export function parseLeaseAction(action: LeaseAction): LeaseAction {
  switch (action.action) {
    case 'take': {
      const { ttl, owner } = action
      if (owner !== undefined) checkOwner(owner)
      return { action: 'take', ttl: ttlOf(ttl), ...(owner === undefined ? {} : { owner }) }
    }
    case 'renew': {
      const { token, ttl } = action
      const changed = ttl === undefined ? {} : { ttl: ttlOf(ttl) }
      return { action: 'renew', token: parseToken(token), ...changed }
    }
    case 'release':
      return { action: 'release', token: parseToken(action.token) }
    default:
      throw new TailraceError('EINVAL', 'the action of a lease is one of take, renew, release')
  }
}

/** Throws EINVAL. */
export function parseToken(token: Token): Token {
  const { incarnation, seq } = token ?? {}
  if (typeof incarnation !== 'string' || !Number.isSafeInteger(seq) || seq < 0) {
    throw new TailraceError('EINVAL', 'a token is {incarnation, seq}, as take answered it')
  }
  return { incarnation, seq }
}

function ttlOf(ttl: number): number {
  if (Number.isSafeInteger(ttl) && ttl >= 1 && ttl <= leaseTtlMax) return ttl
  throw new TailraceError(
    'EINVAL',
    `the ttl of a lease is a whole number of ms, 1 to ${leaseTtlMax}`,
  )
}

function checkOwner(owner: string): void {
  const fits = typeof owner === 'string' && owner.isWellFormed()
  if (fits && Buffer.byteLength(owner) <= leaseOwnerSizeMax) return
  throw new TailraceError(
    'EINVAL',
    `the owner of a lease is text of at most ${leaseOwnerSizeMax} bytes`,
  )
}
