/** The ops and the guard of leases: take, renew, release, expire. See rfc/9.
 *  Invariant: who holds a lease, and when it was renewed last, is in `meta`, judged in the order of the
 *  transactions; until when is in memory, set once that is durable. */

import type { LeaseAction, Token } from '../api/transaction.js'
import { TailraceError } from '../error.js'
import type { Key } from '../tree/key.js'
import type { Group } from './group.js'
import { leasesMax } from './lease-action.js'
import { decodeLease, encodeLease, type Lease, leasePath } from './lease-record.js'
import { getRecord, removeRecord, setRecord } from './meta.js'
import { own } from './places.js'
import { leaseMark } from './root-keys.js'
import type { Prepared } from './transaction.js'
import type { Work } from './work.js'

/** A transaction of the server's own: removes the leases whose time is over. It is a group of its own, so
 *  that every renewal that was sent before it counts. */
export const expireLeasesTransaction: Prepared = {
  guards: [],
  ops: [{ op: 'expireLeases' }],
  noMerge: true,
  blobs: [],
  size: 0,
}

/** A transaction of the server's own, at an open: leases whose records do not say how long they last by this
 *  clock are dated now, so that the next open knows. */
export const dateLeasesTransaction: Prepared = {
  guards: [],
  ops: [{ op: 'dateLeases' }],
  noMerge: true,
  blobs: [],
  size: 0,
}

/** Throws ECONFLICT (held), EFENCED (not held with that token), EBUSY (`leasesMax`), EPERM. */
export async function lease(
  group: Group,
  op: { readonly key: Key } & LeaseAction,
  work: Work,
): Promise<void> {
  const key = await leasedKey(group, op.key)
  const held = await leaseOf(group, key)
  switch (op.action) {
    case 'take':
      return take(group, key, held, op, work)
    case 'renew': {
      const before = holding(group, key, held, op.token)
      const after = { ...before, ttl: op.ttl ?? before.ttl, renewed: group.now }
      await setRecord(group.meta, leasePath(key), encodeLease(after))
      work.effects.push(() => group.deadlines.leases.hold(after))
      work.results.push({ token: op.token })
      return
    }
    case 'release':
      await drop(group, holding(group, key, held, op.token), work)
      work.results.push({})
      return
    default:
      return op satisfies never
  }
}

/** Removes what is due. Throws ECANCELED where nothing is. */
export async function expireLeases(group: Group, work: Work): Promise<void> {
  const { leases } = group.deadlines
  const due = leases.due()
  if (due.length === 0) throw new TailraceError('ECANCELED', 'no lease is due any more')
  for (const known of due) {
    const held = await leaseOf(group, known.key)
    // Gone from the tree: what is known of it in memory goes as well.
    if (held?.seq === known.seq) await drop(group, held, work)
    else work.effects.push(() => leases.drop(known))
  }
}

/** Throws ECANCELED where no lease needs it. */
export async function dateLeases(group: Group, work: Work): Promise<void> {
  const { leases } = group.deadlines
  const undated = leases.undated(group.now)
  if (undated.length === 0) throw new TailraceError('ECANCELED', 'all leases are dated')
  for (const known of undated) {
    const held = await leaseOf(group, known.key)
    if (held?.seq !== known.seq) continue
    const dated = { ...held, renewed: group.now }
    await setRecord(group.meta, leasePath(known.key), encodeLease(dated))
    work.effects.push(() => leases.date(dated))
  }
}

/** Why a guard on a token does not hold; undefined if it does. Throws EPERM. */
export async function refusesToken(
  group: Group,
  guard: { readonly key: Key; readonly token: Token },
): Promise<{ readonly message: string; readonly state: unknown } | undefined> {
  const key = await leasedKey(group, guard.key)
  const held = await leaseOf(group, key)
  if (isHeld(group, held, guard.token)) return undefined
  return { message: notHeld(key), state: stateOf(group, held) }
}

async function take(
  group: Group,
  key: Key,
  held: Lease | undefined,
  { ttl, owner }: { readonly ttl: number; readonly owner?: string },
  work: Work,
): Promise<void> {
  if (held) {
    throw new TailraceError(
      'ECONFLICT',
      `the lease of ${shown(key)} is held: wait until it is gone`,
      {
        failed: { state: stateOf(group, held) },
      },
    )
  }
  if (group.leases + work.leases >= leasesMax) {
    const message = `${group.namespace} has ${leasesMax} leases: take this one when some are gone`
    throw new TailraceError('EBUSY', message)
  }
  const taken: Lease = { key, seq: work.seq + 1, ttl, owner, renewed: group.now }
  await setRecord(group.meta, leasePath(key), encodeLease(taken))
  work.leases++
  work.changed.push(leaseMark(key))
  work.effects.push(() => group.deadlines.leases.hold(taken))
  work.results.push({ token: tokenOf(group, taken) })
}

async function drop(group: Group, held: Lease, work: Work): Promise<void> {
  await removeRecord(group.meta, leasePath(held.key))
  work.leases--
  work.changed.push(leaseMark(held.key))
  work.effects.push(() => group.deadlines.leases.drop(held))
}

/** Where an append would go: links are followed, parents need not be there. Throws EPERM, ELOOP. */
async function leasedKey(group: Group, key: Key): Promise<Key> {
  return own(await group.draft.locate(key, { follow: true }), key).key
}

async function leaseOf(group: Group, key: Key): Promise<Lease | undefined> {
  const record = await getRecord(group.meta, leasePath(key))
  return record && decodeLease(record)
}

/** Throws EFENCED. */
function holding(group: Group, key: Key, held: Lease | undefined, token: Token): Lease {
  if (held && isHeld(group, held, token)) return held
  throw new TailraceError('EFENCED', notHeld(key), { failed: { state: stateOf(group, held) } })
}

function isHeld(group: Group, held: Lease | undefined, token: Token): boolean {
  return held?.seq === token.seq && group.incarnation === token.incarnation
}

function notHeld(key: Key): string {
  return `the lease of ${shown(key)} is not held with that token: what it was for belongs to others now`
}

function stateOf(group: Group, held: Lease | undefined) {
  if (!held) return { lease: null }
  const { key, ttl, owner } = held
  const named = owner === undefined ? {} : { owner }
  return { lease: { key, token: tokenOf(group, held), ttl, ...named } }
}

function tokenOf({ incarnation }: Group, { seq }: Lease): Token {
  return { incarnation, seq }
}

function shown(key: Key): string {
  return key === '' ? '/' : key
}
