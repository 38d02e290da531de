/** Where a namespace keeps its present: leases, producers, answers, expiry, settings. See rfc/6.
 *  Invariant: the tree `meta` is only ever read and written through here, as records of canonical bytes
 *  under paths of names; no copy, difference, export or restore sees it.
 *
 *  A record is a val, or, above `inlineSizeMax` bytes, a directory of parts named `0`, `1`, … Whoever
 *  asks for a path knows whether a record or a directory of records stands there. */

import { corrupt } from '../base/stored.js'
import { decode, encode, type Plain } from '../blob/codec.js'
import { hashBlob } from '../blob/hash.js'
import { getEntry, listDir, peekEntry } from '../tree/dir.js'
import { componentsOf, type Key } from '../tree/key.js'
import type { Nodes } from '../tree/nodes.js'
import { type Dir, emptyDir, inlineSizeMax, type Treeobj } from '../tree/treeobj.js'
import { type Draft, DraftDir } from './draft.js'

/** Bytes of one record: the answer of a transaction of `opsMax` ops is one. */
export const recordSizeMax = 512 * 1024

/** Names from the top of the meta tree; each may be a component of a key. */
export type MetaPath = readonly string[]

/** What a record decodes to. */
export type MetaRecord = readonly unknown[]

/** The kinds of records that `meta` keeps for the value of a key. producers: one record for each (rfc/20); expiry: when
 *  the key goes; times: how old a log's blobs are; cap: how much of a log is kept. */
export const lifeKinds = ['producers', 'expiry', 'times', 'cap'] as const

export type LifeKind = (typeof lifeKinds)[number]

/** Where a kind is kept for a key. REQUIRES: the key is resolved. */
export function lifePath(kind: LifeKind, key: Key): MetaPath {
  return [kind, ...componentsOf(key)]
}

/** 64 lower-case hex digits that stand for a text: keys are longer than names may be. */
export function hashName(text: string): string {
  const ref = hashBlob(Buffer.from(text, 'utf8'))
  return ref.slice(ref.indexOf('-') + 1)
}

/** The meta tree that a group is making. */
export type MetaDraft = { readonly nodes: Nodes; readonly meta: Draft }

/** Undefined where there is none. Throws ECORRUPT. */
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

/** A record that never needs parts: where records stand below the path there is none. */
export async function getShortRecord(meta: Draft, path: MetaPath): Promise<MetaRecord | undefined> {
  const { entry } = await meta.locate(keyOf(path), { follow: false })
  return entry?.type === 'val' ? parseRecord(entry.data) : undefined
}

/** Makes or replaces a record, undone with its transaction. REQUIRES: at most `recordSizeMax` bytes. */
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

/** Removes a record, or a directory with all that is in it, and the directories above that it leaves
 *  empty. Says whether it was there. */
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

/** Whether it is certain, without waiting, that there is no record of a kind: the common namespace has none,
 *  and each of its writes asks. */
export function lacksKind({ nodes, meta }: MetaDraft, kind: string): boolean {
  const { edits, children, base } = meta.root
  if (edits.size > 0 && edits.has(kind)) return edits.get(kind) === undefined
  if (base.ref === undefined) return true
  return !children.has(kind) && peekEntry(nodes, base, kind) === undefined
}

/** Whether anything stands at a path. */
export async function hasRecords(meta: Draft, path: MetaPath): Promise<boolean> {
  return (await meta.locate(keyOf(path), { follow: false })).entry !== undefined
}

/** The records of a directory of short ones, as the transactions of the group have left it, in no order. */
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

/** The names of a directory, in order, that stood there when the group began and stand there still. */
export async function* standingNames(meta: Draft, path: MetaPath): AsyncGenerator<string> {
  const { entry } = await meta.locate(keyOf(path), { follow: false })
  if (entry?.type !== 'draft') return
  for await (const name of meta.baseNames(entry)) {
    if (!entry.edits.has(name) || entry.edits.get(name)) yield name
  }
}

/** No directory of short records has more than this; a look at each of them says how many. */
export async function recordsAtMost(meta: Draft, path: MetaPath): Promise<number> {
  const { entry } = await meta.locate(keyOf(path), { follow: false })
  return entry?.type === 'draft' ? entry.base.keys + entry.edits.size : 0
}

/** Bytes of the records of a directory. */
export async function sizeOfRecords(meta: Draft, path: MetaPath): Promise<number> {
  const { entry } = await meta.locate(keyOf(path), { follow: false })
  return entry?.type === 'draft' ? entry.size : 0
}

/** Short records of a directory. REQUIRES: the group has replaced none, and removed none of its own. */
export async function countOfRecords(meta: Draft, path: MetaPath): Promise<number> {
  const { entry } = await meta.locate(keyOf(path), { follow: false })
  if (entry?.type !== 'draft') return 0
  let count = entry.base.keys
  for (const edit of entry.edits.values()) count += edit ? 1 : -1
  return count
}

/** A record of a committed meta tree; undefined where there is none. Throws ECORRUPT, EDANGLING, EIO. */
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

/** The records of a directory of a committed meta tree, in order of their names, from after `after`. */
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
