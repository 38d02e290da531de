/** What `meta` keeps of keys that expire: for each key when it does, and an index of all of them in the
 *  order of time. See rfc/9.
 *  Invariant: a key that expires is in the index once, no later than it expires; an entry whose key does
 *  not expire, or was filed elsewhere, means nothing. */

import type { Plain } from '../blob/codec.js'
import { TailraceError } from '../error.js'
import type { Key } from '../tree/key.js'
import type { Nodes } from '../tree/nodes.js'
import type { Dir } from '../tree/treeobj.js'
import type { Draft } from './draft.js'
import { hexHash } from './lease-record.js'
import {
  getRecord,
  getShortRecord,
  type MetaPath,
  type MetaRecord,
  readRecords,
  removeRecord,
  setRecord,
} from './meta.js'

/** ms: ten years. */
export const expiryTtlMax = 10 * 365 * 24 * 3_600_000

export const orderPath = ['expiry-order'] as const
const timeDigits = 12

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
  if (!isCount(at) || !isCount(sliding) || !isCount(filed)) throw corrupt()
  return { at, sliding, filed }
}

/** The key of an entry of the index. Throws ECORRUPT. */
export async function getFiled(meta: Draft, name: string): Promise<Key> {
  const record = await getRecord(meta, [...orderPath, name])
  const key = record?.[0]
  if (typeof key !== 'string') throw corrupt()
  return key as Key
}

export function file(meta: Draft, at: number, key: Key): Promise<void> {
  return setRecord(meta, orderEntry(at, key), [key])
}

export function unfile(meta: Draft, at: number, key: Key): Promise<boolean> {
  return removeRecord(meta, orderEntry(at, key))
}

/** The same of a key's own record, if it has one there: those of keys below it are recognised later. */
export async function unfileAt(meta: Draft, path: MetaPath, key: Key): Promise<void> {
  const record = await getShortRecord(meta, path)
  if (record) await unfile(meta, decodeExpires(record).filed, key)
}

/** The time of an entry of the index, by its name. Throws ECORRUPT. */
export function timeOf(name: string): number {
  const at = Number.parseInt(name.slice(0, timeDigits), 16)
  if (!isCount(at) || name[timeDigits] !== '-') throw corrupt()
  return at
}

/** The time of the first entry of the index. Throws ECORRUPT, EDANGLING, EIO. */
export async function readFirstTime(nodes: Nodes, meta: Dir): Promise<number | undefined> {
  for await (const [name] of readRecords(nodes, meta, orderPath)) return timeOf(name)
  return undefined
}

function orderEntry(at: number, key: Key): MetaPath {
  return [...orderPath, `${at.toString(16).padStart(timeDigits, '0')}-${hexHash(key)}`]
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

function corrupt(): TailraceError {
  return new TailraceError('ECORRUPT', 'the record of an expiry cannot be read: restore a copy')
}
