/** When a key expires, as its writes say. See rfc/9.
 *  Invariant: the record of a key and its entry in the index are changed by the write that they are
 *  about, in its transaction. */

import type { Expiry } from '../api/transaction.js'
import { TailraceError } from '../error.js'
import type { Key } from '../tree/key.js'
import type { Nodes } from '../tree/nodes.js'
import type { Dir } from '../tree/treeobj.js'
import {
  decodeExpires,
  type Expires,
  encodeExpires,
  expiryTtlMax,
  file,
  unfile,
} from './expiry-record.js'
import type { Group } from './group.js'
import { lifePath } from './life.js'
import { getShortRecord, hasRecords, lacksKind, readRecord, setRecord } from './meta.js'
import type { Work } from './work.js'

/** What a put or an append says of it. */
export type ExpiryChange = { readonly ttl: number; readonly sliding: boolean }

/** Undefined: it says nothing. Throws EINVAL. */
export function parseExpiry({ ttl, sliding }: Expiry): ExpiryChange | undefined {
  if (sliding !== undefined && typeof sliding !== 'boolean') {
    throw new TailraceError('EINVAL', 'sliding is true or false')
  }
  if (ttl === undefined) {
    if (!sliding) return undefined
    throw new TailraceError('EINVAL', 'sliding needs a ttl: the time after the last write')
  }
  if (!Number.isSafeInteger(ttl) || ttl < 1 || ttl > expiryTtlMax) {
    throw new TailraceError('EINVAL', `a ttl is a whole number of ms, 1 to ${expiryTtlMax}`)
  }
  return { ttl, sliding: sliding ?? false }
}

/** A put of a key: what was said before is gone already. REQUIRES: the key is resolved. */
export function expireAfterPut(
  group: Group,
  key: Key,
  change: ExpiryChange | undefined,
  work: Work,
): Promise<void> | undefined {
  return change && setExpires(group, key, { change, before: undefined }, work)
}

/** An append to a key: without a change a sliding expiry counts anew, another one stays. REQUIRES: the
 *  key is resolved. */
export function expireAfterAppend(
  group: Group,
  key: Key,
  change: ExpiryChange | undefined,
  work: Work,
): Promise<void> | undefined {
  if (!change && lacksKind(group, 'expiry')) return undefined
  return expireAnew(group, key, change, work)
}

async function expireAnew(
  group: Group,
  key: Key,
  change: ExpiryChange | undefined,
  work: Work,
): Promise<void> {
  const before = await getExpires(group, key)
  const again = before?.sliding ? { ttl: before.sliding, sliding: true } : undefined
  const next = change ?? again
  if (next) await setExpires(group, key, { change: next, before }, work)
}

/** Undefined where the key does not expire. */
export async function getExpires(group: Group, key: Key): Promise<Expires | undefined> {
  if (!(await hasRecords(group.meta, ['expiry']))) return undefined
  const record = await getShortRecord(group.meta, lifePath('expiry', key))
  return record && decodeExpires(record)
}

/** Of a key in a committed meta tree. REQUIRES: the key is resolved. Throws ECORRUPT, EDANGLING, EIO. */
export async function readExpires(nodes: Nodes, meta: Dir, key: Key): Promise<Expires | undefined> {
  const record = await readRecord(nodes, meta, lifePath('expiry', key))
  return record && decodeExpires(record)
}

/** A time that moves away leaves its entry in the index, where it is found when the old time has come: a
 *  sliding key costs its record only. */
async function setExpires(
  group: Group,
  key: Key,
  { change, before }: { readonly change: ExpiryChange; readonly before: Expires | undefined },
  work: Work,
): Promise<void> {
  const at = group.now + change.ttl
  const sliding = change.sliding ? change.ttl : 0
  if (before?.at === at && before.sliding === sliding) return
  const stays = before !== undefined && before.filed <= at
  if (!stays) {
    if (before) await unfile(group.meta, before.filed, key)
    await file(group.meta, at, key)
    work.effects.push(() => group.deadlines.expiry.by(at))
  }
  const expires: Expires = { at, sliding, filed: stays ? before.filed : at }
  await setRecord(group.meta, lifePath('expiry', key), encodeExpires(expires))
}
