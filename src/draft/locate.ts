/** Finds the place of a write in the draft of a group, and finds what a key names in the draft, in
 *  another namespace, or at a retained root. See rfc/6.
 *  Invariant: nothing here changes a key. Directories that are made are undone with their
 *  transaction. An entry of the draft is written as nodes before another place names it. */

import { hashBlob } from '../blob/hash.js'
import { TailraceError } from '../error.js'
import { emptyArray, openArray, pushBlob } from '../tree/array.js'
import { lookup } from '../tree/lookup.js'
import { admitOf } from '../tree/rights.js'
import { componentsOf, type Key, shownKey } from '../treeobj/key.js'
import type { Dir, Treeobj } from '../treeobj/treeobj.js'
import type { DraftDir, DraftEntry, DraftPlace, OpenLog } from './draft.js'
import type { DraftGroup, Work } from './group.js'

/** Returns the place of a write, and makes the missing directories above it. The result is a promise
 *  only if something must be loaded or a link followed: most writes need none. Throws EPERM (the key
 *  leads into another namespace), ENOTDIR, ELOOP, EINVAL. */
export function writable(
  group: DraftGroup,
  key: Key,
  work: Work,
  { follow }: { readonly follow: boolean },
): DraftPlace | Promise<DraftPlace> {
  const created: Key[] = []
  const place = group.draft.peekPlace(key, { follow, created })
  if (!place) return locateWritable(group, key, work, { follow })
  for (const directory of created) work.changed.push(directory)
  return place
}

async function locateWritable(
  group: DraftGroup,
  key: Key,
  work: Work,
  { follow }: { readonly follow: boolean },
): Promise<DraftPlace> {
  const created: Key[] = []
  const place = own(await group.draft.locate(key, { follow, created }), key)
  for (const directory of created) work.changed.push(directory)
  return place
}

/** Returns the place. Throws EPERM if it is in another namespace. */
export function own(place: DraftPlace, key: Key): DraftPlace {
  if (!place.foreign) return place
  throw new TailraceError(
    'EPERM',
    `${key} leads into the namespace ${place.foreign.link.namespace}: write there by its own name`,
  )
}

/** Returns a value as a log that can be appended to. An inline value becomes
 *  the first blob of its log. */
export async function logOf(
  group: DraftGroup,
  entry: Exclude<DraftEntry, DraftDir>,
  work: Work,
): Promise<OpenLog> {
  switch (entry.type) {
    case 'log':
      return entry
    case 'valref':
      return {
        type: 'log',
        array: await openArray(group.nodes, entry),
        attrs: entry.attrs,
        base: entry.base,
      }
    case 'val': {
      const blob = { ref: hashBlob(entry.data), bytes: entry.data }
      work.blobs.push(blob)
      const array = pushBlob(group.writer, emptyArray, {
        ref: blob.ref,
        size: entry.data.length,
        more: false,
      })
      return { type: 'log', array, attrs: entry.attrs, base: undefined }
    }
    case 'symlink': // `locate` follows a link at the end for all callers that want a log.
      throw new TailraceError('ELOOP', 'a link that was followed is a link still')
    default:
      return entry satisfies never
  }
}

/** Returns an EISDIR for a key that names a directory. */
export function isDirectory(key: Key): TailraceError {
  return new TailraceError('EISDIR', `${shownKey(key)} is a directory`)
}

/** The source of a copy. `namespace`: undefined is the group's own; `at`:
 *  undefined is the newest root. */
export type PreparedSource = {
  readonly from: Key
  readonly namespace: string | undefined
  readonly at: number | string | undefined
}

/** Returns the treeobj that a copy is made of; links are followed. Throws ENOENT, ENONS,
 *  ECOMPACTED, ELOOP, EINVAL. */
export async function sourceOf(group: DraftGroup, source: PreparedSource): Promise<Treeobj> {
  const { from, namespace = group.namespace, at } = source
  const drafted = namespace === group.namespace ? group : group.others?.get(namespace)
  const treeobj =
    drafted && at === undefined
      ? await draftTreeobj(drafted, from)
      : await treeobjIn(group, await group.sources(namespace, at), namespace, from)
  if (treeobj) return treeobj
  throw new TailraceError('ENOENT', `there is no ${shownKey(from)} to copy`)
}

/** Returns what a key named at a retained root of the group's namespace. A link at its end is not
 *  followed. Throws ECOMPACTED, ELOOP, EINVAL. */
export async function treeobjAt(
  group: DraftGroup,
  key: Key,
  at: number | string,
): Promise<Treeobj | undefined> {
  const data = await group.sources(undefined, at)
  const views = (name: string) => (name === group.namespace ? data : group.views(name))
  const options = { follow: false, admit: admitOf(group.draft.rights, 'read') }
  return (await lookup(group.nodes, views, group.namespace, key, options)).treeobj
}

/** Returns what a key names in the draft now. Links are followed, those into other namespaces too.
 *  Throws ELOOP, EINVAL. */
export async function draftTreeobj(group: DraftGroup, key: Key): Promise<Treeobj | undefined> {
  const place = await locateToRead(group, key)
  if (!place.foreign) return place.entry && group.draft.seal(place.entry)
  const { link, rest } = place.foreign
  const below = [...componentsOf(link.target as Key), ...rest].join('/') as Key
  const { nodes, views } = group
  const options = { follow: true, admit: admitOf(group.draft.rights, 'read') }
  return (await lookup(nodes, views, link.namespace ?? '', below, options)).treeobj
}

/** Locates a key for a guard or a copy, which need the right to read, whatever the step needs. */
async function locateToRead({ draft }: DraftGroup, key: Key): Promise<DraftPlace> {
  const { right } = draft
  draft.right = 'read'
  try {
    return await draft.locate(key, { follow: true })
  } finally {
    draft.right = right
  }
}

async function treeobjIn(
  group: DraftGroup,
  data: Dir,
  namespace: string,
  key: Key,
): Promise<Treeobj | undefined> {
  const views = (name: string) => (name === namespace ? data : group.views(name))
  const options = { follow: true, admit: admitOf(group.draft.rights, 'read') }
  return (await lookup(group.nodes, views, namespace, key, options)).treeobj
}
