/** The tree `meta` of a namespace: leases, producers, answers, expiry, settings. See rfc/6.
 *  Invariant: only this file reads and writes the tree `meta`, as records of canonical bytes under
 *  paths of names; no copy, difference, export or restore sees it.
 *
 *  * A record is a val or, above `inlineSizeMax` bytes, a directory of parts named `0`, `1`, … A
 *  caller must know if a path holds a record or a directory of records. */

import { corrupt } from '../base/stored.js'
import { decode, encode, type Plain } from '../blob/codec.js'
import { hashBlob } from '../blob/hash.js'
import { getEntry, listDir, peekEntry } from '../tree/dir.js'
import type { Nodes } from '../tree/nodes.js'
import { componentsOf, type Key } from '../treeobj/key.js'
import { type Dir, emptyDir, inlineSizeMax, type Treeobj } from '../treeobj/treeobj.js'
import { type Draft, DraftDir } from './draft.js'

/** The largest size of a record, in bytes: the answer of a transaction of `opsMax` ops fits. */
export const recordSizeMax = 512 * 1024

/** The names from the top of the tree down to a record; each may be a component of a key. */
export type MetaPath = readonly string[]

/** A decoded record. */
export type MetaRecord = readonly unknown[]

/** The kinds of records that belong to the value of a key. producers: one record for each producer
 *  (rfc/20); expiry: the time at which the key is removed; times: the ages of a log's blobs; cap:
 *  the bound of a log. */
export const lifeKinds = ['producers', 'expiry', 'times', 'cap'] as const

/** One of `lifeKinds`. */
export type LifeKind = (typeof lifeKinds)[number]

/** Returns the path of a kind for a key. REQUIRES: the key is resolved. */
export function lifePath(kind: LifeKind, key: Key): MetaPath {
  return [kind, ...componentsOf(key)]
}

/** Returns 64 lower-case hex digits that stand for a text. Keys may be
 *  longer than a name may be. */
export function hashName(text: string): string {
  const ref = hashBlob(Buffer.from(text, 'utf8'))
  return ref.slice(ref.indexOf('-') + 1)
}

/** The tree `meta` that a group is making. */
export type MetaDraft = { readonly nodes: Nodes; readonly meta: Draft }

/** Returns a record; undefined where there is none. Throws ECORRUPT. */
export async function getRecord(meta: Draft, path: MetaPath): Promise<MetaRecord | undefined> {
  const { entry } = await meta.locate(keyOf(path), { follow: false })
  if (!entry) return undefined
  if (entry.type === 'val') return parseRecord(entry.data)
  if (entry.type !== 'draft') throw corrupt('a record of a namespace')
  const parts: Uint8Array[] = []
  for (;;) {
    const part = await meta.locate(keyOf([...path, String(parts.length)]), { follow: false })
    if (!part.entry) return parseRecord(Buffer.concat(parts))
    if (part.entry.type !== 'val') throw corrupt('a record of a namespace')
    parts.push(part.entry.data)
  }
}

/** Returns a record of a kind that never needs parts; undefined where there is none, and where the
 *  path is a directory of records. Throws ECORRUPT. */
export async function getShortRecord(meta: Draft, path: MetaPath): Promise<MetaRecord | undefined> {
  const { entry } = await meta.locate(keyOf(path), { follow: false })
  return entry?.type === 'val' ? parseRecord(entry.data) : undefined
}

/** Makes or replaces a record. It is undone with its transaction. REQUIRES: the record has at most
 *  `recordSizeMax` bytes. */
export async function setRecord(meta: Draft, path: MetaPath, record: readonly Plain[]) {
  const bytes = Buffer.from(encode(record))
  const place = await meta.locate(keyOf(path), { follow: false, created: [] })
  if (!place.parent) throw corrupt('a record of a namespace')
  if (bytes.length <= inlineSizeMax) {
    meta.set(place.parent, place.name, { type: 'val', data: bytes })
    return
  }
  const parts = new DraftDir(emptyDir)
  meta.set(place.parent, place.name, parts)
  for (let at = 0; at < bytes.length; at += inlineSizeMax) {
    const data = bytes.subarray(at, at + inlineSizeMax)
    meta.set(parts, String(at / inlineSizeMax), { type: 'val', data })
  }
}

/** Removes a record, or a directory with all its records, and the directories above that are empty
 *  then. False if it was not there. */
export async function removeRecord(meta: Draft, path: MetaPath): Promise<boolean> {
  const place = await meta.locate(keyOf(path), { follow: false })
  if (!place.entry || !place.parent) return false
  meta.set(place.parent, place.name, undefined)
  for (let depth = path.length - 1; depth > 0; depth--) {
    const above = await meta.locate(keyOf(path.slice(0, depth)), { follow: false })
    if (above.entry?.type !== 'draft' || !above.parent) return true
    if (!(await meta.isEmpty(above.entry))) return true
    meta.set(above.parent, above.name, undefined)
  }
  return true
}

/** True if it is certain, without a load, that there is no record of a kind. Each write asks this,
 *  and most namespaces have none. */
export function lacksKind({ nodes, meta }: MetaDraft, kind: string): boolean {
  const { edits, children, base } = meta.root
  if (edits.size > 0 && edits.has(kind)) return edits.get(kind) === undefined
  if (base.ref === undefined) return true
  return !children.has(kind) && peekEntry(nodes, base, kind) === undefined
}

/** True if a record or a directory of records is at the path. */
export async function hasRecords(meta: Draft, path: MetaPath): Promise<boolean> {
  return (await meta.locate(keyOf(path), { follow: false })).entry !== undefined
}

/** Yields the records of a directory of short records, as the group has left it, in no order. */
export async function* draftShortRecords(
  meta: Draft,
  path: MetaPath,
): AsyncGenerator<readonly [name: string, record: MetaRecord]> {
  const { entry } = await meta.locate(keyOf(path), { follow: false })
  if (entry?.type !== 'draft') return
  for (const [name, edit] of [...entry.edits]) {
    if (edit?.type === 'val') yield [name, parseRecord(edit.data)]
  }
  for await (const [name, treeobj] of meta.baseEntries(entry)) {
    if (treeobj.type === 'val' && !entry.edits.has(name)) yield [name, parseRecord(treeobj.data)]
  }
}

/** Yields, in order, the names of a directory that were there when the
 *  group began and still are. */
export async function* standingNames(meta: Draft, path: MetaPath): AsyncGenerator<string> {
  const { entry } = await meta.locate(keyOf(path), { follow: false })
  if (entry?.type !== 'draft') return
  for await (const name of meta.baseNames(entry)) {
    if (!entry.edits.has(name) || entry.edits.get(name)) yield name
  }
}

/** Returns an upper bound for the number of records in a directory of short records. */
export async function recordsAtMost(meta: Draft, path: MetaPath): Promise<number> {
  const { entry } = await meta.locate(keyOf(path), { follow: false })
  return entry?.type === 'draft' ? entry.base.keys + entry.edits.size : 0
}

/** Returns the bytes of the records of a directory. */
export async function sizeOfRecords(meta: Draft, path: MetaPath): Promise<number> {
  const { entry } = await meta.locate(keyOf(path), { follow: false })
  return entry?.type === 'draft' ? entry.size : 0
}

/** Returns the number of records in a directory of short records. REQUIRES: the group has replaced
 *  none of them, and removed none that it made itself. */
export async function countOfRecords(meta: Draft, path: MetaPath): Promise<number> {
  const { entry } = await meta.locate(keyOf(path), { follow: false })
  if (entry?.type !== 'draft') return 0
  let count = entry.base.keys
  for (const edit of entry.edits.values()) count += edit ? 1 : -1
  return count
}

/** Returns a record of a committed tree `meta`; undefined where there is none. Throws
 *  ECORRUPT, EDANGLING, EIO. */
export async function readRecord(
  nodes: Nodes,
  meta: Dir,
  path: MetaPath,
): Promise<MetaRecord | undefined> {
  let treeobj: Treeobj | undefined = meta
  for (const name of path) {
    if (treeobj?.type !== 'dir') return undefined
    treeobj = await getEntry(nodes, treeobj, name)
  }
  return treeobj && recordOf(nodes, treeobj)
}

/** Yields the records of a directory of a committed tree `meta`, in the order of their names, from
 *  the first one behind `after`. Throws ECORRUPT, EDANGLING, EIO. */
export async function* readRecords(
  nodes: Nodes,
  meta: Dir,
  path: MetaPath,
  options?: { readonly after?: string },
): AsyncGenerator<readonly [name: string, record: MetaRecord]> {
  let dir: Treeobj | undefined = meta
  for (const name of path) {
    if (dir?.type !== 'dir') return
    dir = await getEntry(nodes, dir, name)
  }
  if (dir?.type !== 'dir') return
  for await (const [name, treeobj] of listDir(nodes, dir, options)) {
    yield [name, await recordOf(nodes, treeobj)]
  }
}

async function recordOf(nodes: Nodes, treeobj: Treeobj): Promise<MetaRecord> {
  if (treeobj.type === 'val') return parseRecord(treeobj.data)
  if (treeobj.type !== 'dir') throw corrupt('a record of a namespace')
  const parts = new Map<string, Uint8Array>()
  for await (const [name, part] of listDir(nodes, treeobj)) {
    if (part.type !== 'val') throw corrupt('a record of a namespace')
    parts.set(name, part.data)
  }
  const inOrder = Array.from({ length: parts.size }, (_, at) => parts.get(String(at)))
  return parseRecord(Buffer.concat(inOrder.map((part) => part ?? new Uint8Array())))
}

function keyOf(path: MetaPath): Key {
  return path.join('/') as Key
}

function parseRecord(bytes: Uint8Array): MetaRecord {
  const record = decode(bytes)
  if (!Array.isArray(record)) throw corrupt('a record of a namespace')
  return record
}
