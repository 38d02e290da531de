/** Keys that expire: when, as their writes say; and the commit that removes those whose time has come. See rfc/9.
 *  `meta` keeps a record for each such key, and an index of all of them in the order of time.
 *  Invariant: the record of a key and its entry in the index are changed by the write that they are about, in its
 *  transaction. A key is in the index once, no later than it expires; an entry whose key does not expire, or was
 *  filed elsewhere, means nothing: a key is removed only if its own record says at that moment that it is due.
 *  What else `meta` keeps for the value of a key (producers, caps) ends with that value, too: see `endLife`. */

import type { Expiry } from '../api/transaction.js'
import { Alarm } from '../base/alarm.js'
import type { Environment } from '../base/environment.js'
import { corrupt, isCount } from '../base/stored.js'
import type { Plain } from '../blob/codec.js'
import type { Draft } from '../draft/draft.js'
import type { DraftGroup, Work } from '../draft/group.js'
import {
  getRecord,
  getShortRecord,
  hashName,
  hasRecords,
  lacksKind,
  lifeKinds,
  lifePath,
  type MetaDraft,
  type MetaPath,
  type MetaRecord,
  readRecord,
  readRecords,
  removeRecord,
  setRecord,
  standingNames,
} from '../draft/meta.js'
import { TailraceError } from '../error.js'
import type { Key } from '../tree/key.js'
import type { Nodes } from '../tree/nodes.js'
import type { Dir } from '../tree/treeobj.js'
import { expiryRetryMs } from './lease-table.js'

/** ms: ten years. */
export const expiryTtlMax = 10 * 365 * 24 * 3_600_000

export const orderPath = ['expiry-order'] as const
const timeDigits = 12

/** The wall clock may be set, and goes on while a machine sleeps: it is looked at again after so long. */
export const wallLookMs = 10 * 60_000

/** A group, with the alarm of its namespace's expiring keys. */
export type ExpiryGroup = DraftGroup & { readonly expiry: KeyExpiry }

/** When a key expires. Times are wall clock, ms since 1970. */
export type Expires = {
  readonly at: number
  /** Of each later append anew; 0: not sliding. */
  readonly sliding: number
  /** Where the index has it: a sliding key moves there only when its old time has come. */
  readonly filed: number
}

export function encodeExpires({ at, sliding, filed }: Expires): readonly Plain[] {
  return [at, sliding, filed]
}

/** Throws ECORRUPT. */
export function decodeExpires(record: MetaRecord): Expires {
  const [at, sliding, filed] = record
  if (!isCount(at) || !isCount(sliding) || !isCount(filed)) throw corrupt('the record of an expiry')
  return { at, sliding, filed }
}

/** The key of an entry of the index. Throws ECORRUPT. */
export async function getFiled(meta: Draft, name: string): Promise<Key> {
  const record = await getRecord(meta, [...orderPath, name])
  const key = record?.[0]
  if (typeof key !== 'string') throw corrupt('the record of an expiry')
  return key as Key
}

export function file(meta: Draft, at: number, key: Key): Promise<void> {
  return setRecord(meta, orderEntry(at, key), [key])
}

export function unfile(meta: Draft, at: number, key: Key): Promise<boolean> {
  return removeRecord(meta, orderEntry(at, key))
}

/** The same of a key's own record, if it has one there: those of keys below it are recognised later. */
async function unfileAt(meta: Draft, path: MetaPath, key: Key): Promise<void> {
  const record = await getShortRecord(meta, path)
  if (record) await unfile(meta, decodeExpires(record).filed, key)
}

/** The value at a key ends, or all values below it, and with it what `meta` keeps for it. Each kind mirrors the keys of
 *  `data`: a record, or a directory of records, stands at the key's own components below the kind. Values have no keys
 *  below them, so the two never meet. Whatever replaces, moves or removes a value, or a directory above it, calls this. */
export function endLife(group: MetaDraft, key: Key): Promise<void> | undefined {
  if (lifeKinds.every((kind) => lacksKind(group, kind))) return undefined
  return endEach(group, key)
}

async function endEach(group: MetaDraft, key: Key): Promise<void> {
  for (const kind of lifeKinds) {
    if (lacksKind(group, kind)) continue
    const path = lifePath(kind, key)
    if (kind === 'expiry') await unfileAt(group.meta, path, key)
    await removeRecord(group.meta, path)
  }
}

/** The time of an entry of the index, by its name. Throws ECORRUPT. */
export function timeOf(name: string): number {
  const at = Number.parseInt(name.slice(0, timeDigits), 16)
  if (!isCount(at) || name[timeDigits] !== '-') throw corrupt('the record of an expiry')
  return at
}

/** The time of the first entry of the index. Throws ECORRUPT, EDANGLING, EIO. */
export async function readFirstTime(nodes: Nodes, meta: Dir): Promise<number | undefined> {
  for await (const [name] of readRecords(nodes, meta, orderPath)) return timeOf(name)
  return undefined
}

function orderEntry(at: number, key: Key): MetaPath {
  return [...orderPath, `${at.toString(16).padStart(timeDigits, '0')}-${hashName(key)}`]
}

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
  group: ExpiryGroup,
  key: Key,
  change: ExpiryChange | undefined,
  work: Work,
): Promise<void> | undefined {
  return change && setExpires(group, key, { change, before: undefined }, work)
}

/** An append to a key: without a change a sliding expiry counts anew, another one stays. REQUIRES: the
 *  key is resolved. */
export function expireAfterAppend(
  group: ExpiryGroup,
  key: Key,
  change: ExpiryChange | undefined,
  work: Work,
): Promise<void> | undefined {
  if (!change && lacksKind(group, 'expiry')) return undefined
  return expireAnew(group, key, change, work)
}

async function expireAnew(
  group: ExpiryGroup,
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
async function getExpires(group: DraftGroup, key: Key): Promise<Expires | undefined> {
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
  group: ExpiryGroup,
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
    work.effects.push(() => group.expiry.by(at))
  }
  const expires: Expires = { at, sliding, filed: stays ? before.filed : at }
  await setRecord(group.meta, lifePath('expiry', key), encodeExpires(expires))
}

/** Entries of the index that one commit looks at. */
export const expiredPerCommitMax = 1_024

/** The op. `remove` takes a value away as an unlink does. Throws ECANCELED where nothing is due; OpensNextGroup. */
export async function expireKeys(
  group: DraftGroup,
  remove: (key: Key) => Promise<void>,
): Promise<void> {
  const { meta, now } = group
  let looked = 0
  for await (const name of standingNames(meta, orderPath)) {
    const filed = timeOf(name)
    if (filed > now || looked === expiredPerCommitMax) break
    looked++
    const key = await getFiled(meta, name)
    const record = await getShortRecord(meta, lifePath('expiry', key))
    await removeRecord(meta, [...orderPath, name])
    const expires = record && decodeExpires(record)
    if (expires?.filed === filed) await settle(group, key, expires, remove)
  }
  if (looked === 0) throw new TailraceError('ECANCELED', 'no key is due any more')
}

async function settle(
  group: DraftGroup,
  key: Key,
  expires: Expires,
  remove: (key: Key) => Promise<void>,
): Promise<void> {
  const { draft, meta, now } = group
  const path = lifePath('expiry', key)
  if (expires.at > now) {
    await file(meta, expires.at, key)
    await setRecord(meta, path, encodeExpires({ ...expires, filed: expires.at }))
    return
  }
  const place = await draft.locate(key, { follow: false })
  const there = place.parent && place.entry && place.key === key && !place.foreign
  if (there && place.entry?.type !== 'draft') await remove(key)
  else await removeRecord(meta, path)
}

/** When the next look at the index is due. */
export class KeyExpiry implements Disposable {
  readonly #now: () => number
  /** The first time in the index. */
  readonly #first: () => Promise<number | undefined>
  readonly #expire: () => Promise<unknown>
  readonly #alarm: Alarm

  constructor(
    { now, timer }: Environment,
    ports: {
      readonly first: () => Promise<number | undefined>
      readonly expire: () => Promise<unknown>
    },
  ) {
    this.#now = now
    this.#first = ports.first
    this.#expire = ports.expire
    const ring = () => void this.#submit()
    this.#alarm = new Alarm(timer, { clock: now, ring, waitMsMax: wallLookMs })
  }

  /** A key was filed there. */
  by(at: number): void {
    this.#alarm.by(at)
  }

  [Symbol.dispose](): void {
    this.#alarm[Symbol.dispose]()
  }

  async #submit(): Promise<void> {
    try {
      await this.#expire()
      const first = await this.#first()
      if (first !== undefined) this.#alarm.by(first)
    } catch {
      // Closed, or it could not be stored.
      this.#alarm.by(this.#now() + expiryRetryMs)
    }
  }
}
