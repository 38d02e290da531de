/** The op `trim`: a log drops blobs of its head. See rfc/19, and rfc/5 for what a base is.
 *  Invariant: a base never goes back; what is left keeps its indices and offsets; no node of the array is
 *  written. */

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
import type { Key } from '../tree/key.js'
import { type Base, baseNone } from '../tree/treeobj.js'

export type PreparedTrim = { readonly op: 'trim'; readonly key: Key; readonly to: TrimTo }

/** A value that a trim meets. */
type Value = Exclude<DraftEntry, DraftDir>
type Totals = { readonly count: number; readonly size: number; readonly base: Base }

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

/** Drops what the logs that a transaction appended to have above their caps. Throws OpensNextGroup. */
export async function capLogs(group: TimesGroup, work: Work): Promise<void> {
  for (const key of work.capped) {
    const cap = await getCap(group, key)
    if (cap) await dropHead(group, key, trimsOf(cap), work)
  }
}

/** Drops of a log that a transaction appended to what each of these drops; nothing where the key is no log any
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

/** REQUIRES: it is a value, or a log whose base is below `first`. Throws OpensNextGroup. */
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
    throw new OpensNextGroup() // or its watchers would never see what this group appended
  }
  const log = await logOf(group, entry, work)
  const next = { count: first, size: await offsetAt(group.nodes, log.array, first) }
  group.draft.set(parent, name, { ...log, base: next })
  await dropMarks(group, key, first)
  work.changed.push(key)
  return next
}

/** The first blob that the log is to keep; its count where that is none. Throws EINVAL. */
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

/** `locate` follows the last link for everything that asks for a log. */
function linkLeft(): TailraceError {
  return new TailraceError('ELOOP', 'a link that was followed is a link still')
}

/** Blobs of a value when the group began. */
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
