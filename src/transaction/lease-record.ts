/** What `meta` keeps of a lease: `leases/HASH`, where HASH is of the resolved key. See rfc/9.
 *  Invariant: a record is the whole of a lease but its deadline, which is in memory: from the record's time
 *  follows what a lease has left at most after an open. */

import type { Plain } from '../blob/codec.js'
import { hashBlob } from '../blob/hash.js'
import { TailraceError } from '../error.js'
import type { Key } from '../tree/key.js'
import type { Nodes } from '../tree/nodes.js'
import type { Dir } from '../tree/treeobj.js'
import { type MetaPath, type MetaRecord, readRecord, readRecords } from './meta.js'

export const leasesPath = ['leases'] as const

/** A lease that is held. */
export type Lease = {
  readonly key: Key
  /** Of the transaction that took it: with the incarnation the fencing token. */
  readonly seq: number
  readonly ttl: number
  readonly owner: string | undefined
  /** When it was taken or renewed last, on the wall clock. Undefined: the record is older than this field. */
  readonly renewed: number | undefined
}

/** The name of a key's lease: keys are longer than names may be. */
export function leaseName(key: Key): string {
  return hexHash(key)
}

export function leasePath(key: Key): MetaPath {
  return [...leasesPath, leaseName(key)]
}

export function encodeLease({ key, seq, ttl, owner, renewed }: Lease): readonly Plain[] {
  const record = [key, seq, ttl, owner ?? null]
  return renewed === undefined ? record : [...record, renewed]
}

/** Throws ECORRUPT. */
export function decodeLease(record: MetaRecord): Lease {
  const [key, seq, ttl, owner, renewed] = record
  if (typeof key !== 'string' || !isCount(seq) || !isCount(ttl)) throw corrupt()
  if (owner !== null && typeof owner !== 'string') throw corrupt()
  if (renewed !== undefined && !isCount(renewed)) throw corrupt()
  return { key: key as Key, seq, ttl, owner: owner ?? undefined, renewed }
}

/** The lease of a resolved key in a committed meta tree. Throws ECORRUPT, EDANGLING, EIO. */
export async function readLease(nodes: Nodes, meta: Dir, key: Key): Promise<Lease | undefined> {
  const record = await readRecord(nodes, meta, leasePath(key))
  return record && decodeLease(record)
}

/** All leases of a committed meta tree. Throws ECORRUPT, EDANGLING, EIO. */
export async function* readLeases(nodes: Nodes, meta: Dir): AsyncGenerator<Lease> {
  for await (const [, record] of readRecords(nodes, meta, leasesPath)) yield decodeLease(record)
}

/** 64 lower-case hex digits that stand for a key. */
export function hexHash(key: Key): string {
  const ref = hashBlob(Buffer.from(key, 'utf8'))
  return ref.slice(ref.indexOf('-') + 1)
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

function corrupt(): TailraceError {
  return new TailraceError('ECORRUPT', 'the record of a lease cannot be read: restore a copy')
}
