/** The op `trim`, which drops blobs from the head of a log, and the trims that caps cause. See
 *  rfc/19, and rfc/5, rule 21.
 *  Invariant: a base never goes back. The blobs that are left keep their indices and offsets. No
 *  node of the array is written. */

import type { Cap, TrimTo } from '../api/transaction.js'
import { OpensNextGroup } from '../draft/breaks.js'
import type { DraftDir, DraftEntry } from '../draft/draft.js'
import type { Work } from '../draft/group.js'
import { isDirectory, logOf, own } from '../draft/locate.js'
import { TailraceError } from '../error.js'
import { getCap } from '../present/cap.js'
import { countOlder, dropMarks, type TimesGroup } from '../present/times.js'
import { openArray } from '../tree/array.js'
import { indexAtOffset, offsetAt } from '../tree/array-read.js'
import { getEntry } from '../tree/dir.js'
import type { Key } from '../treeobj/key.js'
import { type Base, baseNone } from '../treeobj/treeobj.js'

/** A trim whose fields are checked. */
export type PreparedTrim = { readonly op: 'trim'; readonly key: Key; readonly to: TrimTo }

/** An entry of a draft that is no directory. */
type Value = Exclude<DraftEntry, DraftDir>
type Totals = { readonly count: number; readonly size: number; readonly base: Base }

/** Trims a log. Throws ENOENT, EISDIR, EINVAL, EPERM, ELOOP, OpensNextGroup. */
export async function trim(group: TimesGroup, op: PreparedTrim, work: Work): Promise<void> {
  const place = own(await group.draft.locate(op.key, { follow: true }), op.key)
  const { entry, parent } = place
  if (entry?.type === 'draft') throw isDirectory(op.key)
  if (!entry || !parent) throw new TailraceError('ENOENT', `${op.key} is not there to be trimmed`)
  const { count, base } = totalsOf(entry)
  const first = await firstLeft(group, { ...op, resolved: place.key }, entry)
  if (first <= base.count) {
    work.results.push({ base, count })
    return
  }
  const next = await moveBase(
    group,
    { key: place.key, name: place.name, parent, entry },
    first,
    work,
  )
  work.results.push({ base: next, count })
}

/** Trims the logs that a transaction wrote to their caps (rfc/19, rule 5). Throws
 *  OpensNextGroup. */
export async function capLogs(group: TimesGroup, work: Work): Promise<void> {
  for (const key of work.capped ?? []) {
    const cap = await getCap(group, key)
    if (cap) await dropHead(group, key, trimsOf(cap), work)
  }
}

/** Trims a log by that one of `tos` that keeps least. Does nothing where the key is no open log any
 *  more. REQUIRES: the key is resolved. Throws OpensNextGroup. */
async function dropHead(
  group: TimesGroup,
  key: Key,
  tos: readonly TrimTo[],
  work: Work,
): Promise<void> {
  const { entry, parent, name } = await group.draft.locate(key, { follow: false })
  if (entry?.type !== 'log' || !parent) return
  let first = 0
  for (const to of tos) {
    first = Math.max(first, await firstLeft(group, { op: 'trim', key, resolved: key, to }, entry))
  }
  if (first <= (entry.base?.count ?? 0)) return
  await moveBase(group, { key, name, parent, entry }, first, work)
}

/** Moves the base of a log to the blob `first`, and returns it. REQUIRES: the base was below.
 *  Throws OpensNextGroup where the group appended blobs that would be dropped. */
async function moveBase(
  group: TimesGroup,
  place: {
    readonly key: Key
    readonly name: string
    readonly parent: DraftDir
    readonly entry: Value
  },
  first: number,
  work: Work,
): Promise<Base> {
  const { key, name, parent, entry } = place
  if (group.appended.has(key) && first > (await countBefore(group, parent, name))) {
    throw new OpensNextGroup() // otherwise watchers would never see what this group appended
  }
  const log = await logOf(group, entry, work)
  const next = { count: first, size: await offsetAt(group.nodes, log.array, first) }
  group.draft.set(parent, name, { ...log, base: next })
  await dropMarks(group, key, first)
  work.changed.push(key)
  return next
}

/** Returns the index of the first blob that a trim keeps; the log's count if it keeps
 *  none. Throws EINVAL. */
async function firstLeft(
  group: TimesGroup,
  { key, resolved, to }: PreparedTrim & { readonly resolved: Key },
  entry: Value,
): Promise<number> {
  const { count, size, base } = totalsOf(entry)
  if ('before' in to) {
    if (to.before <= count) return to.before
    throw new TailraceError('EINVAL', `${key} has ${count} blobs, not ${to.before} to drop`, {
      failed: { state: { count, base } },
    })
  }
  if ('keep' in to) return Math.max(0, count - to.keep)
  if ('olderThan' in to) return countOlder(group, resolved, count, to.olderThan)
  if (to.keepBytes === 0) return count
  const offset = size - to.keepBytes
  if (offset <= base.size || entry.type === 'val') return base.count
  const array = entry.type === 'log' ? entry.array : await arrayOf(group, entry)
  return indexAtOffset(group.nodes, array, offset)
}

function arrayOf({ nodes }: TimesGroup, entry: Exclude<Value, { type: 'val' | 'log' }>) {
  if (entry.type === 'valref') return openArray(nodes, entry)
  throw linkLeft()
}

function totalsOf(entry: Value): Totals {
  switch (entry.type) {
    case 'val':
      return { count: 1, size: entry.data.length, base: baseNone }
    case 'log':
      return { count: entry.array.count, size: entry.array.size, base: entry.base ?? baseNone }
    case 'valref':
      return { count: entry.count, size: entry.size, base: entry.base ?? baseNone }
    case 'symlink':
      throw linkLeft()
    default:
      return entry satisfies never
  }
}

/** Makes the error for a link in place of a value. Never thrown, since `locate` follows it. */
function linkLeft(): TailraceError {
  return new TailraceError('ELOOP', 'a link that was followed is a link still')
}

/** Returns the number of blobs that a value had when the group began. */
async function countBefore({ nodes }: TimesGroup, parent: DraftDir, name: string): Promise<number> {
  const before = await getEntry(nodes, parent.base, name)
  if (before?.type === 'valref') return before.count
  return before?.type === 'val' ? 1 : 0
}

function trimsOf({ keep, keepBytes, keepAge }: Cap): readonly TrimTo[] {
  return [
    ...(keep === undefined ? [] : [{ keep }]),
    ...(keepBytes === undefined ? [] : [{ keepBytes }]),
    ...(keepAge === undefined ? [] : [{ olderThan: keepAge }]),
  ]
}
