/** The ops that copy by reference: copy, fork, move, restore. Their cost does not depend on the
 *  size of what is copied. See rfc/18, rules 1 to 6.
 *  Invariant: a copy shares every node and blob with its source. It has no producers, no
 *  expiry and no cap. */

import assert from 'node:assert/strict'
import type { Op } from '../api/transaction.js'
import { parseBlobref } from '../blob/blobref.js'
import { checkBreaks } from '../draft/breaks.js'
import { DraftDir, type DraftEntry, type DraftPlace } from '../draft/draft.js'
import type { DraftGroup, Work } from '../draft/group.js'
import {
  isDirectory,
  logOf,
  own,
  type PreparedSource,
  sourceOf,
  treeobjAt,
  writable,
} from '../draft/locate.js'
import { TailraceError } from '../error.js'
import { endLife } from '../present/expiry.js'
import { closeArray } from '../tree/array.js'
import { truncateArray } from '../tree/array-read.js'
import { refOf, sameTreeobj } from '../treeobj/codec.js'
import { type Key, parseKey, parseNamespaceName, rootKey, shownKey } from '../treeobj/key.js'
import { type Base, baseNone, type Treeobj } from '../treeobj/treeobj.js'

type Target = { readonly key: Key; readonly replace: boolean }

/** A copy, fork, move or restore whose fields are checked. */
export type CopyOp =
  | ({ readonly op: 'copy' } & Target & PreparedSource)
  | ({ readonly op: 'fork'; readonly key: Key; readonly count: number } & PreparedSource)
  | ({ readonly op: 'move' } & Target & Omit<PreparedSource, 'at'>)
  | { readonly op: 'restore'; readonly key: Key; readonly at: number | string }

/** Checks the fields of an op. Throws EINVAL. */
export function prepareCopy(op: Extract<Op, { op: CopyOp['op'] }>): CopyOp {
  const key = parseKey(op.key)
  switch (op.op) {
    case 'copy':
      return { op: 'copy', key, replace: op.replace ?? false, ...preparedSource(op) }
    case 'fork':
      return { op: 'fork', key, count: countOf(op.count, 'count'), ...preparedSource(op) }
    case 'move': {
      const { from, namespace } = preparedSource(op)
      return { op: 'move', key, replace: op.replace ?? false, from, namespace }
    }
    case 'restore':
      return { op: 'restore', key, at: atOf(op.at) }
    default:
      return op satisfies never
  }
}

function preparedSource(op: {
  readonly from: string
  readonly namespace?: string
  readonly at?: number | string
}): PreparedSource {
  const { from, namespace, at } = op
  return {
    from: parseKey(from),
    namespace: namespace === undefined ? undefined : parseNamespaceName(namespace),
    at: at === undefined ? undefined : atOf(at),
  }
}

function atOf(at: number | string): number | string {
  return typeof at === 'string' ? parseBlobref(at) : countOf(at, 'at')
}

/** Checks a field that counts or is a seq; `what` names it. Throws EINVAL. */
export function countOf(input: number, what: string): number {
  if (Number.isSafeInteger(input) && input >= 0) return input
  throw new TailraceError('EINVAL', `${what} is a whole number, 0 or more`)
}

type OpOf<Name extends CopyOp['op']> = Extract<CopyOp, { op: Name }>

/** Copies a key. Throws ENOENT, EISDIR (the target), ENOTDIR, ENONS, ECOMPACTED, ELOOP, EPERM. */
export async function copy(group: DraftGroup, op: OpOf<'copy'>, work: Work): Promise<void> {
  // Reads the source before it touches the target: a copy of a directory into itself has
  // the state before.
  const treeobj = await sourceOf(group, op)
  const place = await clear(group, op.key, work, { replace: op.replace })
  set(group, place, treeobj, work)
  work.results.push({ ref: refOf(treeobj) })
}

/** Makes a log of the first blobs of another one. Throws EINVAL (the source has fewer), ECOMPACTED
 *  (a trim dropped some of them), and what `copy` throws. */
export async function fork(group: DraftGroup, op: OpOf<'fork'>, work: Work): Promise<void> {
  const { count } = op
  const source = await sourceOf(group, op)
  if (source.type === 'dir' || source.type === 'symlink') throw isDirectory(op.from)
  const { array, attrs, base } = await logOf(group, source, work)
  checkCount(op, array.count, base)
  const { contentType } = attrs ?? {}
  const kept = contentType === undefined ? undefined : { contentType }
  const head = await truncateArray(group.nodes, array, count)
  const treeobj = closeArray(group.writer, head, kept, base)
  const place = await clear(group, op.key, work, { replace: false })
  set(group, place, treeobj, work)
  work.results.push({ ref: refOf(treeobj), count })
}

/** Moves a key, also out of another namespace of a joint commit. Throws EINVAL (into itself), EPERM
 *  (the root directory), and what `copy` throws. */
export async function move(group: DraftGroup, op: OpOf<'move'>, work: Work): Promise<void> {
  const { key, replace } = op
  const source = takenFrom(group, op, work)
  const from = own(await source.group.draft.locate(op.from, { follow: false }), op.from)
  if (from.entry === source.group.draft.root) {
    throw new TailraceError('EPERM', 'the root directory cannot be moved: copy it')
  }
  if (!from.entry || !from.parent) {
    throw new TailraceError('ENOENT', `there is no ${op.from} to move`)
  }
  const treeobj = await source.group.draft.seal(from.entry)
  const place = await writable(group, key, work, { follow: false })
  const same = source.group === group
  if (same && place.key === from.key) {
    work.results.push({ ref: refOf(treeobj) })
    return
  }
  if (same && isBelow(place.key, from.key)) {
    throw new TailraceError('EINVAL', `${key} is below ${op.from}: nothing moves into itself`)
  }
  await checkBreaks(source.group, from.key, from.entry)
  await clearPlace(group, place, key, { replace })
  await endLife(source.group, from.key)
  // Removes the source before it sets the target, which may be a directory above the source.
  source.group.draft.set(from.parent, from.name, undefined)
  source.changed(from.key)
  set(group, place, treeobj, work)
  work.results.push({ ref: refOf(treeobj) })
}

/** Makes a key what it was at a retained root. Throws ECOMPACTED, EINVAL, ENOTDIR, ELOOP, EPERM. */
export async function restore(group: DraftGroup, op: OpOf<'restore'>, work: Work): Promise<void> {
  const { key, at } = op
  const { draft } = group
  const before = await treeobjAt(group, key, at)
  const found = own(await draft.locate(key, { follow: false }), key)
  const now = found.entry && (await draft.seal(found.entry))
  if (before && now ? sameTreeobj(before, now) : before === now) {
    work.results.push(before ? { ref: refOf(before) } : {})
    return
  }
  const place = before ? await writable(group, key, work, { follow: false }) : found
  await clearPlace(group, place, key, { replace: true })
  if (before) set(group, place, before, work)
  else if (place.parent) {
    draft.set(place.parent, place.name, undefined)
    work.changed.push(place.key)
  }
  work.results.push(before ? { ref: refOf(before) } : {})
}

/** Prepares the place of a treeobj: makes its parents, and ends what belonged to the value there.
 *  Throws EISDIR on a directory with keys, unless `replace`. */
export async function clear(
  group: DraftGroup,
  key: Key,
  work: Work,
  options: { readonly replace: boolean },
): Promise<DraftPlace> {
  const place = await writable(group, key, work, { follow: false })
  await clearPlace(group, place, key, options)
  return place
}

async function clearPlace(
  group: DraftGroup,
  place: DraftPlace,
  key: Key,
  { replace }: { readonly replace: boolean },
): Promise<void> {
  const { entry } = place
  if (!entry) return
  if (entry.type === 'draft' && !replace && !(await group.draft.isEmpty(entry))) {
    throw new TailraceError(
      'EISDIR',
      `${shownKey(key)} is a directory with keys in it: say replace`,
    )
  }
  await checkBreaks(group, place.key, entry)
  await endLife(group, place.key)
}

/** Sets a treeobj at a place. REQUIRES: the place was prepared by `clear`. Throws EISDIR where a
 *  value would replace the root directory. */
export function set(group: DraftGroup, place: DraftPlace, treeobj: Treeobj, work: Work): void {
  const { draft } = group
  if (place.parent) draft.set(place.parent, place.name, entryOf(treeobj))
  else if (treeobj.type === 'dir') draft.setRoot(treeobj)
  else throw isDirectory(rootKey)
  work.changed.push(place.key)
}

function entryOf(treeobj: Treeobj): DraftEntry {
  return treeobj.type === 'dir' ? new DraftDir(treeobj) : treeobj
}

/** Returns the group that a move takes from, and a function that notes the key that it loses. */
function takenFrom(
  group: DraftGroup,
  { namespace = group.namespace }: OpOf<'move'>,
  work: Work,
): { readonly group: DraftGroup; readonly changed: (key: Key) => void } {
  if (namespace === group.namespace) return { group, changed: (key) => work.changed.push(key) }
  const other = group.others?.get(namespace)
  assert(other, 'a move from another namespace is part of a joint commit')
  return { group: other, changed: (key) => other.changed.add(key) }
}

function checkCount(op: OpOf<'fork'>, length: number, base: Base = baseNone): void {
  if (op.count > length) {
    const message = `${op.from} has ${length} blobs: it has no first ${op.count}`
    throw new TailraceError('EINVAL', message, { failed: { state: { count: length } } })
  }
  if (op.count < base.count) {
    const message = `the first ${base.count} blobs of ${op.from} were trimmed: a fork has as many or more`
    throw new TailraceError('ECOMPACTED', message, { failed: { state: { base } } })
  }
}

function isBelow(key: Key, above: Key): boolean {
  return above === rootKey ? key !== rootKey : key.startsWith(`${above}/`)
}
