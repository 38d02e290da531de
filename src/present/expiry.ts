/** Keys that expire, and the transaction that removes those that are due. See rfc/9, rules 13 to
 *  18. `meta` keeps a record for each such key, and an index of all of them in the order of time.
 *  `endLife` ends all that `meta` keeps for a value.
 *  Invariant: the write that changes the expiry of a key also changes the record and the index. The
 *  index has a key once, at a time no later than its expiry. A key is removed only if its own
 *  record says that it is due: an entry whose key has no record, or one that is filed elsewhere,
 *  means nothing. */

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
import type { Nodes } from '../tree/nodes.js'
import type { Key } from '../treeobj/key.js'
import type { Dir } from '../treeobj/treeobj.js'
import { expiryRetryMs } from './lease-table.js'

/** The longest ttl of a key, in ms: ten years. */
export const expiryTtlMax = 10 * 365 * 24 * 3_600_000

const orderPath = ['expiry-order'] as const
const timeDigits = 12

/** The longest time between two looks at the wall clock, in ms: it may be set, and goes on while
 *  the machine sleeps. */
export const wallLookMs = 10 * 60_000

/** A group, with the alarm for the expiring keys of its namespace. */
export type ExpiryGroup = DraftGroup & { readonly expiry: KeyExpiry }

/** The expiry of a key. Times are wall clock, ms since 1970. */
export type Expires = {
  /** The time at which the key expires. */
  readonly at: number
  /** The ttl, in ms, that counts anew from each later append; 0 if the expiry is not sliding. */
  readonly sliding: number
  /** The time under which the index has the key, at most `at`. */
  readonly filed: number
}

/** Encodes the record of a key as `[at, sliding, filed]`. */
export function encodeExpires({ at, sliding, filed }: Expires): readonly Plain[] {
  return [at, sliding, filed]
}

/** Decodes the record of a key. Throws ECORRUPT. */
export function decodeExpires(record: MetaRecord): Expires {
  const [at, sliding, filed] = record
  if (!isCount(at) || !isCount(sliding) || !isCount(filed)) throw corrupt('the record of an expiry')
  return { at, sliding, filed }
}

/** Returns the key of an entry of the index. Throws ECORRUPT. */
async function getFiled(meta: Draft, name: string): Promise<Key> {
  const record = await getRecord(meta, [...orderPath, name])
  const key = record?.[0]
  if (typeof key !== 'string') throw corrupt('the record of an expiry')
  return key as Key
}

/** Adds a key to the index, under the time `at`. */
function file(meta: Draft, at: number, key: Key): Promise<void> {
  return setRecord(meta, orderEntry(at, key), [key])
}

/** Removes a key from the index, where it is under the time `at`. */
function unfile(meta: Draft, at: number, key: Key): Promise<boolean> {
  return removeRecord(meta, orderEntry(at, key))
}

/** Removes a key from the index if it has a record of its own at `path`. Entries of keys below it
 *  stay in the index: they mean nothing without their records. */
async function unfileAt(meta: Draft, path: MetaPath, key: Key): Promise<void> {
  const record = await getShortRecord(meta, path)
  if (record) await unfile(meta, decodeExpires(record).filed, key)
}

/** Removes what `meta` keeps for the value of a key, and for all values below it. REQUIRES: called
 *  by each op that replaces, moves or removes a value or a directory. Each kind of record mirrors
 *  the keys of `data`: below the kind, at the components of the key, stands a record or a directory
 *  of records. A value has no keys below it, so the two never meet. */
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

/** Parses the time in the name of an entry of the index. Throws ECORRUPT. */
function timeOf(name: string): number {
  const at = Number.parseInt(name.slice(0, timeDigits), 16)
  if (!isCount(at) || name[timeDigits] !== '-') throw corrupt('the record of an expiry')
  return at
}

/** Reads the time of the first entry of the index. Throws ECORRUPT, EDANGLING, EIO. */
export async function readFirstTime(nodes: Nodes, meta: Dir): Promise<number | undefined> {
  for await (const [name] of readRecords(nodes, meta, orderPath)) return timeOf(name)
  return undefined
}

function orderEntry(at: number, key: Key): MetaPath {
  return [...orderPath, `${at.toString(16).padStart(timeDigits, '0')}-${hashName(key)}`]
}

/** The expiry that a put or an append sets. `ttl` in ms. */
export type ExpiryChange = { readonly ttl: number; readonly sliding: boolean }

/** Checks the expiry of an op. Undefined if the op has none. Throws EINVAL. */
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

/** Sets the expiry of a key that was put. REQUIRES: the key is resolved, and its earlier
 *  expiry was ended. */
export function expireAfterPut(
  group: ExpiryGroup,
  key: Key,
  change: ExpiryChange | undefined,
  work: Work,
): Promise<void> | undefined {
  return change && setExpires(group, key, { change, before: undefined }, work)
}

/** Sets the expiry of a key that was appended to. Without a change a sliding expiry counts anew,
 *  and another one stays. REQUIRES: the key is resolved. */
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

/** Returns the expiry of a key in the draft of a group. Undefined where the key does not expire. */
async function getExpires(group: DraftGroup, key: Key): Promise<Expires | undefined> {
  if (!(await hasRecords(group.meta, ['expiry']))) return undefined
  const record = await getShortRecord(group.meta, lifePath('expiry', key))
  return record && decodeExpires(record)
}

/** Reads the expiry of a key in a committed meta tree. REQUIRES: the key is resolved. Throws
 *  ECORRUPT, EDANGLING, EIO. */
export async function readExpires(nodes: Nodes, meta: Dir, key: Key): Promise<Expires | undefined> {
  const record = await readRecord(nodes, meta, lifePath('expiry', key))
  return record && decodeExpires(record)
}

/** Sets the expiry of a key. A later time leaves the entry in the index where it is, and
 *  `expireKeys` moves it when its old time has come. So an append to a sliding key
 *  writes one record. */
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

/** The largest number of entries of the index that one transaction looks at. */
export const expiredPerCommitMax = 1_024

/** Removes the keys that are due, each by `remove`, which unlinks it. Throws ECANCELED where
 *  nothing is due, and OpensNextGroup. */
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

/** Removes a key that is due, or files it anew if its expiry has moved. */
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

/** The alarm of a namespace that submits the removal of expired keys. */
export class KeyExpiry implements Disposable {
  readonly #now: () => number
  /** Reads the first time in the index. */
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

  /** Looks at the index at `at` (wall clock, ms since 1970), or earlier. */
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
      // The namespace is closed, or the commit failed: tries again later.
      this.#alarm.by(this.#now() + expiryRetryMs)
    }
  }
}
