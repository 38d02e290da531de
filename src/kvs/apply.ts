/** One transaction on a draft: guards, then ops in order. What each op meets is rfc/6.
 *  Invariant: a transaction that throws has changed nothing once the caller has rolled back. */

import type { Blob } from '../blob/blob.js'
import { hashBlob } from '../blob/hash.js'
import { type Failed, TailraceError } from '../error.js'
import { type AppendArray, closeArray, emptyArray, openArray, pushBlob } from '../tree/array.js'
import type { Key } from '../tree/key.js'
import { type Attrs, emptyDir, type Treeobj } from '../tree/treeobj.js'
import { refOf } from '../tree/treeobj-codec.js'
import { DraftDir, type Entry, type Place } from './draft.js'
import type { Group } from './group.js'
import { refuses } from './guard.js'
import type { OpResult } from './kvs.js'
import type { Prepared, PreparedOp, PutContent } from './transaction.js'

/** Thrown by a transaction that must see its group committed first: it opens the next one. */
export class OpensNextGroup extends Error {}

export type Applied = {
  readonly results: OpResult[]
  readonly changed: readonly Key[]
  readonly appended: readonly Key[]
  /** Blobs that the ops made (an inline value that became a log's first blob). */
  readonly blobs: readonly Blob[]
}

type Work = { results: OpResult[]; changed: Key[]; appended: Key[]; blobs: Blob[] }

/** `seq` is the seq before this transaction. Throws ECONFLICT, EISDIR, ENOTDIR, EEXIST, ENOTEMPTY,
 *  ESEALED, ELOOP, EPERM, ENOENT, each with `failed`; OpensNextGroup. */
export async function apply(group: Group, prepared: Prepared, seq: number): Promise<Applied> {
  for (const [index, guard] of prepared.guards.entries()) {
    const failed = await refuses(group, guard, seq)
    if (failed) {
      throw new TailraceError('ECONFLICT', failed.message, {
        failed: { guard: index, state: failed.state },
      })
    }
  }
  const work: Work = { results: [], changed: [], appended: [], blobs: [] }
  for (const [index, op] of prepared.ops.entries()) {
    try {
      await applyOp(group, op, work)
    } catch (error) {
      if (!(error instanceof TailraceError)) throw error
      const failed: Failed = { op: index, ...error.failed }
      throw new TailraceError(error.code, error.message, { cause: error, failed })
    }
  }
  return work
}

async function applyOp(group: Group, op: PreparedOp, work: Work): Promise<void> {
  switch (op.op) {
    case 'put':
      return put(group, op.key, op.content, op.contentType, work)
    case 'append':
      return append(group, op, work)
    case 'seal':
      return seal(group, op.key, work)
    case 'unlink':
      return unlink(group, op.key, op.recursive, work)
    case 'mkdir':
      return mkdir(group, op.key, work)
    case 'symlink': {
      const { target, namespace } = op
      const link: Entry = {
        type: 'symlink',
        target,
        ...(namespace === undefined ? {} : { namespace }),
      }
      const place = await replaceable(group, op.key, work)
      group.draft.set(place.parent, place.name, link)
      work.changed.push(place.key)
      work.results.push({})
      return
    }
    default:
      return op satisfies never
  }
}

async function put(
  group: Group,
  key: Key,
  content: PutContent,
  contentType: string | undefined,
  work: Work,
): Promise<void> {
  const place = await replaceable(group, key, work)
  const attrs: { attrs?: Attrs } = contentType === undefined ? {} : { attrs: { contentType } }
  const value: Treeobj & Entry =
    content.kind === 'inline'
      ? { type: 'val', data: content.data, ...attrs }
      : closeArray(group.writer, arrayOf(group, content), attrs.attrs)
  group.draft.set(place.parent, place.name, value)
  work.changed.push(place.key)
  work.results.push({ ref: refOf(value) })
}

function arrayOf(group: Group, content: Exclude<PutContent, { kind: 'inline' }>): AppendArray {
  if (content.kind === 'array') return content.array
  let array = emptyArray
  for (const blob of content.blobs) array = pushBlob(group.writer, array, blob)
  return array
}

async function append(
  group: Group,
  op: Extract<PreparedOp, { op: 'append' }>,
  work: Work,
): Promise<void> {
  const place = await writable(group, op.key, work, { follow: true })
  const { entry, parent } = place
  if (!parent || entry?.type === 'draft') throw isDirectory(op.key)
  const log = entry === undefined ? undefined : await logOf(group, entry, work)
  if (log?.attrs?.sealed) {
    throw new TailraceError('ESEALED', `${op.key} is sealed: nothing can be appended`, {
      failed: { state: { count: log.array.count, size: log.array.size, sealed: true } },
    })
  }
  let array = log?.array ?? emptyArray
  const index = array.count
  for (const blob of op.blobs) array = pushBlob(group.writer, array, blob)
  const attrs: Attrs | undefined = op.seal ? { ...log?.attrs, sealed: true } : log?.attrs
  group.draft.set(parent, place.name, { type: 'log', array, attrs })
  work.changed.push(place.key)
  work.appended.push(place.key)
  work.results.push({ index, count: array.count })
}

async function seal(group: Group, key: Key, work: Work): Promise<void> {
  const place = await group.draft.locate(key, { follow: true })
  const { entry, parent } = own(place, key)
  if (entry?.type === 'draft') throw isDirectory(key)
  if (!entry || !parent)
    throw new TailraceError('ENOENT', `${key} is not there: append to it first`)
  const log = await logOf(group, entry, work)
  if (!log.attrs?.sealed) {
    group.draft.set(parent, place.name, { ...log, attrs: { ...log.attrs, sealed: true } })
    work.changed.push(place.key)
    work.appended.push(place.key)
  }
  work.results.push({ count: log.array.count })
}

async function mkdir(group: Group, key: Key, work: Work): Promise<void> {
  const place = await writable(group, key, work, { follow: false })
  if (place.entry === undefined) {
    if (!place.parent) throw new TailraceError('EINVAL', 'the root directory is always there')
    group.draft.set(place.parent, place.name, new DraftDir(emptyDir))
    work.changed.push(place.key)
  } else if (place.entry.type !== 'draft') {
    throw new TailraceError('EEXIST', `${key} is there and is not a directory`)
  }
  work.results.push({})
}

async function unlink(group: Group, key: Key, recursive: boolean, work: Work): Promise<void> {
  const place = own(await group.draft.locate(key, { follow: false }), key)
  if (place.entry === group.draft.root) {
    throw new TailraceError('EPERM', 'the root directory cannot be removed')
  }
  const { entry, parent } = place
  if (entry && parent) {
    if (entry.type === 'draft' && !recursive && !(await group.draft.isEmpty(entry))) {
      throw new TailraceError('ENOTEMPTY', `${key} is a directory with keys in it: say recursive`)
    }
    checkBreaks(group, place.key, entry)
    group.draft.set(parent, place.name, undefined)
    work.changed.push(place.key)
  }
  work.results.push({})
}

/** Where a put or a link lands: not on a directory; parents are made. */
async function replaceable(
  group: Group,
  key: Key,
  work: Work,
): Promise<Place & { readonly parent: DraftDir }> {
  const place = await writable(group, key, work, { follow: false })
  const { parent, entry } = place
  if (!parent || entry?.type === 'draft') throw isDirectory(key)
  if (entry) checkBreaks(group, place.key, entry)
  return { ...place, parent }
}

/** Where a write lands, its parents made. */
async function writable(
  group: Group,
  key: Key,
  work: Work,
  options: { readonly follow: boolean },
): Promise<Place> {
  const created: Key[] = []
  const place = own(await group.draft.locate(key, { follow: options.follow, created }), key)
  for (const directory of created) work.changed.push(directory)
  return place
}

function own(place: Place, key: Key): Place {
  if (!place.foreign) return place
  throw new TailraceError(
    'EPERM',
    `${key} leads into the namespace ${place.foreign.link.namespace}: write there by its own name`,
  )
}

/** An entry is replaced or removed: what earlier transactions of the group appended to it, below it
 *  or behind it must have been seen by its watchers before. */
function checkBreaks(group: Group, key: Key, entry: Entry): void {
  if (group.appended.size === 0) return
  if (entry.type === 'symlink' || group.appended.has(key)) throw new OpensNextGroup()
  if (entry.type !== 'draft') return
  for (const appended of group.appended) {
    if (appended.startsWith(`${key}/`)) throw new OpensNextGroup()
  }
}

/** A value as a log; an inline one becomes a log whose first blob it is. */
async function logOf(
  group: Group,
  entry: Exclude<Entry, DraftDir>,
  work: Work,
): Promise<{ type: 'log'; array: AppendArray; attrs: Attrs | undefined }> {
  switch (entry.type) {
    case 'log':
      return entry
    case 'valref':
      return { type: 'log', array: await openArray(group.nodes, entry), attrs: entry.attrs }
    case 'val': {
      const blob = { ref: hashBlob(entry.data), bytes: entry.data }
      work.blobs.push(blob)
      const array = pushBlob(group.writer, emptyArray, {
        ref: blob.ref,
        size: entry.data.length,
        more: false,
      })
      return { type: 'log', array, attrs: entry.attrs }
    }
    case 'symlink': // `locate` follows the last link for everything that asks for a log.
      throw new TailraceError('ELOOP', 'a link that was followed is a link still')
    default:
      return entry satisfies never
  }
}

function isDirectory(key: Key): TailraceError {
  return new TailraceError('EISDIR', `${key === '' ? '/' : key} is a directory`)
}
