/** Leases: their records in `meta`, the ops that take, renew, release and expire them, and the
 *  guard on a token. See rfc/9.
 *  Invariant: `meta` says who holds a lease and when it was renewed last (at `leases/HASH`, where
 *  HASH is the hash of the resolved key). The deadline is in memory only (`lease-table.ts`), and is
 *  set once the record is durable. */

import type { LeaseAction, OpResult, TakeRefusal, Token } from '../api/transaction.js'
import { corrupt, isCount } from '../base/stored.js'
import type { Plain } from '../blob/codec.js'
import type { DraftGroup, Work } from '../draft/group.js'
import { own } from '../draft/locate.js'
import {
  getRecord,
  hashName,
  type MetaPath,
  type MetaRecord,
  readRecord,
  readRecords,
  removeRecord,
  setRecord,
} from '../draft/meta.js'
import { TailraceError } from '../error.js'
import type { Nodes } from '../tree/nodes.js'
import { leaseMark } from '../tree/root.js'
import { type Key, shownKey } from '../treeobj/key.js'
import type { Dir } from '../treeobj/treeobj.js'
import type { GrantedLease, LeaseTable } from './lease-table.js'

/** The longest ttl of a lease, in ms. */
export const leaseTtlMax = 24 * 3_600_000
/** The largest size, in bytes of UTF-8, of the text that says who holds a lease. */
export const leaseOwnerSizeMax = 256
/** The largest size, in bytes of UTF-8, of the text that names a take. */
export const takeIdSizeMax = 64
/** The largest number of leases that are held at once in one namespace; above it EBUSY. */
export const leasesMax = 10_000

/** Checks the fields of a lease op. Throws EINVAL. */
export function parseLeaseAction(action: LeaseAction): LeaseAction {
  switch (action.action) {
    case 'take': {
      const { ttl, owner, takeId, ifAbsent = false, optional = false } = action
      if (owner !== undefined) checkText(owner, 'owner', leaseOwnerSizeMax)
      if (takeId !== undefined) checkText(takeId, 'takeId', takeIdSizeMax)
      const texts = {
        ...(owner !== undefined && { owner }),
        ...(takeId !== undefined && { takeId }),
      }
      return { action: 'take', ttl: ttlOf(ttl), ifAbsent, optional, ...texts }
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

/** Checks a fencing token. Throws EINVAL. */
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

function checkText(text: string, name: 'owner' | 'takeId', sizeMax: number): void {
  const fits = typeof text === 'string' && text.isWellFormed()
  if (fits && Buffer.byteLength(text) <= sizeMax) return
  throw new TailraceError('EINVAL', `the ${name} of a lease is text of at most ${sizeMax} bytes`)
}

/** A group, with the leases of its namespace. */
export type LeaseGroup = DraftGroup & {
  /** The deadlines. An op reads what is due; only its effects change them. */
  readonly leases: LeaseTable
  /** The number of leases that are held after the transactions that were applied. */
  leaseCount: number
}

const leasesPath = ['leases'] as const

/** The refusal of a take whose key is there. */
const isPresent: TakeRefusal = { present: true }

/** Returns the path of a lease in `meta`. REQUIRES: the key is resolved. */
export function leasePath(key: Key): MetaPath {
  return [...leasesPath, hashName(key)]
}

/** Encodes the record of a lease as `[key, seq, ttl, owner or null, renewed or null, takeId]`,
 *  without nulls at its end behind `owner`. */
export function encodeLease(lease: GrantedLease): readonly Plain[] {
  const { key, seq, ttl, owner, renewed, takeId } = lease
  const record = [key, seq, ttl, owner ?? null]
  if (takeId !== undefined) return [...record, renewed ?? null, takeId]
  return renewed === undefined ? record : [...record, renewed]
}

/** Decodes the record of a lease. Throws ECORRUPT. */
export function decodeLease(record: MetaRecord): GrantedLease {
  const [key, seq, ttl, owner, renewed = null, takeId] = record
  if (typeof key !== 'string' || !isCount(seq) || !isCount(ttl))
    throw corrupt('the record of a lease')
  if (owner !== null && typeof owner !== 'string') throw corrupt('the record of a lease')
  if (renewed !== null && !isCount(renewed)) throw corrupt('the record of a lease')
  if (takeId !== undefined && typeof takeId !== 'string') throw corrupt('the record of a lease')
  const lease = { key: key as Key, seq, ttl, owner: owner ?? undefined, takeId }
  return { ...lease, renewed: renewed ?? undefined }
}

/** Reads the lease of a key in a committed meta tree. Undefined if it is not held. REQUIRES: the
 *  key is resolved. Throws ECORRUPT, EDANGLING, EIO. */
export async function readLease(
  nodes: Nodes,
  meta: Dir,
  key: Key,
): Promise<GrantedLease | undefined> {
  const record = await readRecord(nodes, meta, leasePath(key))
  return record && decodeLease(record)
}

/** Reads all leases of a committed meta tree. Throws ECORRUPT, EDANGLING, EIO. */
export async function* readLeases(nodes: Nodes, meta: Dir): AsyncGenerator<GrantedLease> {
  for await (const [, record] of readRecords(nodes, meta, leasesPath)) yield decodeLease(record)
}

/** A take that has a name. */
type NamedTake = { readonly op: 'lease'; readonly key: Key; readonly takeId: string }

/** The seq and the results that a take was answered with. */
type TakeAnswer = { readonly seq: number; readonly results: readonly OpResult[] }

/** Returns the answer of a take that is sent again under its `takeId`, as the first one had it.
 *  Undefined for other transactions, at once, and where that holding has ended. */
export function takenBefore(
  group: LeaseGroup,
  ops: readonly { readonly op: string }[],
): Promise<TakeAnswer | undefined> | undefined {
  const [op] = ops
  return op && ops.length === 1 && isNamedTake(op) ? answerOf(group, op) : undefined
}

async function answerOf(
  group: LeaseGroup,
  { key, takeId }: NamedTake,
): Promise<TakeAnswer | undefined> {
  const held = await leasedPlace(group, key).then(
    (place) => leaseOf(group, place.key),
    () => undefined, // the op meets that error too, and is named in it
  )
  if (held?.takeId !== takeId) return undefined
  return { seq: held.seq, results: [{ token: tokenOf(group, held) }] }
}

function isNamedTake(op: { readonly op: string }): op is NamedTake {
  return op.op === 'lease' && 'takeId' in op
}

/** Takes, renews or releases a lease. Throws ECONFLICT (it is held), EFENCED (it is not held with
 *  that token), EBUSY (`leasesMax`), EPERM. */
export async function lease(
  group: LeaseGroup,
  op: { readonly key: Key } & LeaseAction,
  work: Work,
): Promise<void> {
  const { key, isThere } = await leasedPlace(group, op.key)
  const held = await leaseOf(group, key)
  switch (op.action) {
    case 'take':
      return take(group, { key, isThere, held }, op, work)
    case 'renew': {
      const before = holding(group, key, held, op.token)
      const after = { ...before, ttl: op.ttl ?? before.ttl, renewed: group.now }
      await setRecord(group.meta, leasePath(key), encodeLease(after))
      work.effects.push(() => group.leases.hold(after))
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

/** Removes the leases that are due. Throws ECANCELED where none is. */
export async function expireLeases(group: LeaseGroup, work: Work): Promise<void> {
  const { leases } = group
  const due = leases.due()
  if (due.length === 0) throw new TailraceError('ECANCELED', 'no lease is due any more')
  for (const known of due) {
    const held = await leaseOf(group, known.key)
    // A lease that is gone from the tree is removed from memory only.
    if (held?.seq === known.seq) await drop(group, held, work)
    else work.effects.push(() => leases.drop(known))
  }
}

/** Writes the time of now into the records whose `renewed` says nothing (rfc/9, rule 9). Throws
 *  ECANCELED where there are none. */
export async function dateLeases(group: LeaseGroup, work: Work): Promise<void> {
  const { leases } = group
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

/** Judges a guard on a token. Undefined if it holds; otherwise the reason, and the state that was
 *  met. Throws EPERM, ELOOP. */
export async function refusesToken(
  group: LeaseGroup,
  guard: { readonly key: Key; readonly token: Token },
): Promise<{ readonly message: string; readonly state: unknown } | undefined> {
  const { key } = await leasedPlace(group, guard.key)
  const held = await leaseOf(group, key)
  if (isHeld(group, held, guard.token)) return undefined
  return { message: notHeld(key), state: stateOf(group, held) }
}

async function take(
  group: LeaseGroup,
  { key, isThere, held }: LeasedPlace & { readonly held: GrantedLease | undefined },
  asked: Omit<Extract<LeaseAction, { action: 'take' }>, 'action'>,
  work: Work,
): Promise<void> {
  const { ttl, owner, takeId, optional } = asked
  if (optional && held && takeId !== undefined && held.takeId === takeId) {
    work.results.push({ token: tokenOf(group, held) })
    return
  }
  const refused = held ? refusalOf(group, held) : asked.ifAbsent && isThere && isPresent
  if (refused && optional) {
    work.results.push({ refused })
    return
  }
  if (refused) {
    const why = held ? 'is held: wait until it is gone' : 'is free, but the key is there'
    const message = `the lease of ${shownKey(key)} ${why}`
    throw new TailraceError('ECONFLICT', message, { failed: { state: refused } })
  }
  if (group.leaseCount + work.leases >= leasesMax) {
    const message = `${group.namespace} has ${leasesMax} leases: take this one when some are gone`
    throw new TailraceError('EBUSY', message)
  }
  const taken: GrantedLease = { key, seq: work.seq + 1, ttl, owner, takeId, renewed: group.now }
  await setRecord(group.meta, leasePath(key), encodeLease(taken))
  work.leases++
  work.changed.push(leaseMark(key))
  work.effects.push(() => group.leases.hold(taken))
  work.results.push({ token: tokenOf(group, taken) })
}

async function drop(group: LeaseGroup, held: GrantedLease, work: Work): Promise<void> {
  await removeRecord(group.meta, leasePath(held.key))
  work.leases--
  work.changed.push(leaseMark(held.key))
  work.effects.push(() => group.leases.drop(held))
}

/** The resolved key of a lease. `isThere`: true if the key is. */
type LeasedPlace = { readonly key: Key; readonly isThere: boolean }

/** Resolves the key of a lease as an append would: links are followed, parents need not exist.
 *  Throws EPERM, ELOOP. */
async function leasedPlace(group: LeaseGroup, named: Key): Promise<LeasedPlace> {
  const { key, entry } = own(await group.draft.locate(named, { follow: true }), named)
  return { key, isThere: entry !== undefined }
}

async function leaseOf(group: LeaseGroup, key: Key): Promise<GrantedLease | undefined> {
  const record = await getRecord(group.meta, leasePath(key))
  return record && decodeLease(record)
}

/** Returns the lease if it is held with the token. Throws EFENCED. */
function holding(
  group: LeaseGroup,
  key: Key,
  held: GrantedLease | undefined,
  token: Token,
): GrantedLease {
  if (held && isHeld(group, held, token)) return held
  throw new TailraceError('EFENCED', notHeld(key), { failed: { state: stateOf(group, held) } })
}

function isHeld(group: LeaseGroup, held: GrantedLease | undefined, token: Token): boolean {
  return held?.seq === token.seq && group.incarnation === token.incarnation
}

function notHeld(key: Key): string {
  return `the lease of ${shownKey(key)} is not held with that token: what it was for belongs to others now`
}

function stateOf(
  group: LeaseGroup,
  held: GrantedLease | undefined,
): { readonly lease: TakeRefusal['lease'] | null } {
  return held ? refusalOf(group, held) : { lease: null }
}

/** Returns the refusal of a take whose lease is held. */
function refusalOf(group: LeaseGroup, held: GrantedLease) {
  const { key, ttl, owner } = held
  const named = owner === undefined ? {} : { owner }
  return { lease: { key, token: tokenOf(group, held), ttl, ...named } }
}

function tokenOf({ incarnation }: LeaseGroup, { seq }: GrantedLease): Token {
  return { incarnation, seq }
}
