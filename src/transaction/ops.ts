/** The ops on one key: put, append, seal, mkdir, symlink, unlink. See the table of rfc/6, rule 3.
 *  Invariant: each op that does not throw adds one result to the work, and the keys
 *  that it changed. */

import type { Cap, Producer } from '../api/transaction.js'
import { checkBreaks } from '../draft/breaks.js'
import { DraftDir, type DraftEntry, type DraftPlace } from '../draft/draft.js'
import type { Work } from '../draft/group.js'
import { isDirectory, logOf, own, writable } from '../draft/locate.js'
import { TailraceError } from '../error.js'
import { capAfterWrite } from '../present/cap.js'
import {
  type ExpiryChange,
  type ExpiryGroup,
  endLife,
  expireAfterAppend,
  expireAfterPut,
} from '../present/expiry.js'
import { noteAppend, turnOf } from '../present/producers.js'
import { markTime, type TimesGroup } from '../present/times.js'
import {
  type AppendArray,
  type ArrayBlob,
  closeArray,
  emptyArray,
  pushBlob,
} from '../tree/array.js'
import { refOf } from '../treeobj/codec.js'
import type { Key } from '../treeobj/key.js'
import { type Attrs, emptyDir, type Treeobj } from '../treeobj/treeobj.js'

/** A group, and the features beside the keys that follow its values: expiry and times. */
type ValueGroup = ExpiryGroup & TimesGroup

/** The content of a put: inline bytes, blobs that are committed with it, or an array whose blobs
 *  were stored before. */
export type PutContent =
  | { readonly kind: 'inline'; readonly data: Uint8Array }
  | { readonly kind: 'blobs'; readonly blobs: readonly ArrayBlob[] }
  | { readonly kind: 'array'; readonly array: AppendArray }

/** An op on one key. */
export type KeyOp =
  | {
      readonly op: 'put'
      readonly key: Key
      readonly content: PutContent
      readonly contentType: string | undefined
      readonly expiry?: ExpiryChange | undefined
      readonly cap?: Cap | null | undefined
    }
  | {
      readonly op: 'append'
      readonly key: Key
      readonly blobs: readonly ArrayBlob[]
      readonly seal: boolean
      readonly producer?: Producer | undefined
      readonly expiry?: ExpiryChange | undefined
      readonly cap?: Cap | null | undefined
    }
  | { readonly op: 'seal'; readonly key: Key }
  | { readonly op: 'unlink'; readonly key: Key; readonly recursive: boolean }
  | { readonly op: 'mkdir'; readonly key: Key }
  | {
      readonly op: 'symlink'
      readonly key: Key
      readonly target: Key
      readonly namespace: string | undefined
    }

type OpOf<Name extends KeyOp['op']> = Extract<KeyOp, { op: Name }>

/** Puts a value at a key. Throws EISDIR, ENOTDIR, ELOOP, EPERM, OpensNextGroup. */
export async function put(group: ValueGroup, op: OpOf<'put'>, work: Work): Promise<void> {
  const { key, content, contentType } = op
  // Each step is awaited only if it gives a promise: puts and appends are most of a store's work.
  const replaced = replaceable(group, key, work)
  const place = replaced instanceof Promise ? await replaced : replaced
  const attrs: { attrs?: Attrs } = contentType === undefined ? {} : { attrs: { contentType } }
  const value: Treeobj & DraftEntry =
    content.kind === 'inline'
      ? { type: 'val', data: content.data, ...attrs }
      : closeArray(group.writer, arrayOf(group, content), attrs.attrs)
  group.draft.set(place.parent, place.name, value)
  const filed = expireAfterPut(group, place.key, op.expiry, work)
  if (filed) await filed
  if (op.cap) await capAfterWrite(group, place.key, op.cap, work)
  work.changed.push(place.key)
  work.results.push({ ref: refOf(value) })
}

function arrayOf(group: ValueGroup, content: Exclude<PutContent, { kind: 'inline' }>): AppendArray {
  if (content.kind === 'array') return content.array
  let array = emptyArray
  for (const blob of content.blobs) array = pushBlob(group.writer, array, blob)
  return array
}

/** Appends blobs to a log, which is made if it is not there. An append that its producer has done
 *  before changes nothing. Throws ESEALED, EISDIR, ENOTDIR, ELOOP, EPERM, ECONFLICT, EFENCED. */
export async function append(group: ValueGroup, op: OpOf<'append'>, work: Work): Promise<void> {
  // Each step is awaited only if it gives a promise: puts and appends are most of a store's work.
  const located = writable(group, op.key, work, { follow: true })
  const place = located instanceof Promise ? await located : located
  const { entry, parent } = place
  if (!parent || entry?.type === 'draft') throw isDirectory(op.key)
  const { producer } = op
  const turn = producer && (await turnOf(group, place.key, producer))
  if (turn?.repeated) {
    work.results.push(turn.repeated)
    return
  }
  const log = entry?.type === 'log' ? entry : entry && (await logOf(group, entry, work))
  if (log?.attrs?.sealed) {
    throw new TailraceError('ESEALED', `${op.key} is sealed: nothing can be appended`, {
      failed: { state: { count: log.array.count, size: log.array.size, sealed: true } },
    })
  }
  let array = log?.array ?? emptyArray
  const index = array.count
  const begins = entry?.type !== 'valref' && entry?.type !== 'log'
  const marked = markTime(group, place.key, { count: index, begins })
  if (marked) await marked
  for (const blob of op.blobs) array = pushBlob(group.writer, array, blob)
  const attrs: Attrs | undefined = op.seal ? { ...log?.attrs, sealed: true } : log?.attrs
  group.draft.set(parent, place.name, { type: 'log', array, attrs, base: log?.base })
  const filed = expireAfterAppend(group, place.key, op.expiry, work)
  if (filed) await filed
  const capped = capAfterWrite(group, place.key, op.cap, work)
  if (capped) await capped
  const landed = { index, count: array.count }
  if (producer) {
    await noteAppend(group, place.key, { producer, before: turn?.before, landed, used: work.seq })
  }
  work.changed.push(place.key)
  work.appended.push(place.key)
  work.results.push(landed)
}

/** Seals a log. Throws ENOENT, EISDIR, ELOOP, EPERM. */
export async function seal(group: ValueGroup, key: Key, work: Work): Promise<void> {
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

/** Makes a directory, and those above it. Throws EEXIST, ENOTDIR, EINVAL, ELOOP, EPERM. */
export async function mkdir(group: ValueGroup, key: Key, work: Work): Promise<void> {
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

/** Removes a key, if it is there. Throws ENOTEMPTY, ELOOP, EPERM, OpensNextGroup. */
export async function unlink(group: ValueGroup, op: OpOf<'unlink'>, work: Work): Promise<void> {
  const { key, recursive } = op
  const place = own(await group.draft.locate(key, { follow: false }), key)
  if (place.entry === group.draft.root) {
    throw new TailraceError('EPERM', 'the root directory cannot be removed')
  }
  const { entry, parent } = place
  if (entry && parent) {
    if (entry.type === 'draft' && !recursive && !(await group.draft.isEmpty(entry))) {
      throw new TailraceError('ENOTEMPTY', `${key} is a directory with keys in it: say recursive`)
    }
    await checkBreaks(group, place.key, entry)
    await endLife(group, place.key)
    group.draft.set(parent, place.name, undefined)
    work.changed.push(place.key)
  }
  work.results.push({})
}

/** Makes a link. Throws EISDIR, ENOTDIR, ELOOP, EPERM, OpensNextGroup. */
export async function symlink(group: ValueGroup, op: OpOf<'symlink'>, work: Work): Promise<void> {
  const { target, namespace } = op
  const link: DraftEntry = {
    type: 'symlink',
    target,
    ...(namespace === undefined ? {} : { namespace }),
  }
  const place = await replaceable(group, op.key, work)
  group.draft.set(place.parent, place.name, link)
  work.changed.push(place.key)
  work.results.push({})
}

/** The place of a put or a link. */
type Replaceable = DraftPlace & { readonly parent: DraftDir }

/** Prepares the place of a put or a link: makes its parents, and ends what belonged to the value
 *  there. Throws EISDIR on a directory. */
function replaceable(group: ValueGroup, key: Key, work: Work): Replaceable | Promise<Replaceable> {
  const located = writable(group, key, work, { follow: false })
  if (located instanceof Promise) return located.then((place) => cleared(group, place, key))
  return cleared(group, located, key)
}

function cleared(
  group: ValueGroup,
  place: DraftPlace,
  key: Key,
): Replaceable | Promise<Replaceable> {
  const { parent, entry } = place
  if (!parent || entry?.type === 'draft') throw isDirectory(key)
  const found = { ...place, parent }
  if (!entry) return found
  if (group.appended.size > 0) return clearedOfLog(group, found, entry)
  const ended = endLife(group, place.key)
  return ended ? ended.then(() => found) : found
}

async function clearedOfLog(
  group: ValueGroup,
  place: Replaceable,
  entry: Exclude<DraftEntry, DraftDir>,
): Promise<Replaceable> {
  await checkBreaks(group, place.key, entry)
  await endLife(group, place.key)
  return place
}
