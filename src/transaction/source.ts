/** What a key names for an op or a guard: in the draft of its group, in another namespace, or at a retained
 *  root. See rfc/6.
 *  Invariant: reads only. What the group changed is written as nodes first, so that what leaves here is a
 *  treeobj that may be named anywhere. */

import { TailraceError } from '../error.js'
import { componentsOf, type Key } from '../tree/key.js'
import { lookup } from '../tree/lookup.js'
import type { Dir, Treeobj } from '../tree/treeobj.js'
import type { PreparedSource } from './copy-op.js'
import type { Group } from './group.js'

/** Links are followed. Throws ENOENT, ENONS, ECOMPACTED, ELOOP, EINVAL. */
export async function sourceOf(group: Group, source: PreparedSource): Promise<Treeobj> {
  const { from, namespace = group.namespace, at } = source
  const drafted = namespace === group.namespace ? group : group.others?.get(namespace)
  const treeobj =
    drafted && at === undefined
      ? await draftTreeobj(drafted, from)
      : await treeobjIn(group, await group.sources(namespace, at), namespace, from)
  if (treeobj) return treeobj
  throw new TailraceError('ENOENT', `there is no ${shown(from)} to copy`)
}

/** What a key was at a retained root of the group's namespace, a link at its end itself. */
export async function treeobjAt(
  group: Group,
  key: Key,
  at: number | string,
): Promise<Treeobj | undefined> {
  const data = await group.sources(undefined, at)
  const views = (name: string) => (name === group.namespace ? data : group.views(name))
  return (await lookup(group.nodes, views, group.namespace, key, { follow: false })).treeobj
}

/** What a key is now, links followed, those into other namespaces too. */
export async function draftTreeobj(group: Group, key: Key): Promise<Treeobj | undefined> {
  const place = await group.draft.locate(key, { follow: true })
  if (!place.foreign) return place.entry && group.draft.seal(place.entry)
  const { link, rest } = place.foreign
  const below = [...componentsOf(link.target as Key), ...rest].join('/') as Key
  const { nodes, views } = group
  const found = await lookup(nodes, views, link.namespace ?? '', below, { follow: true })
  return found.treeobj
}

async function treeobjIn(
  group: Group,
  data: Dir,
  namespace: string,
  key: Key,
): Promise<Treeobj | undefined> {
  const views = (name: string) => (name === namespace ? data : group.views(name))
  return (await lookup(group.nodes, views, namespace, key, { follow: true })).treeobj
}

function shown(key: Key): string {
  return key === '' ? '/' : key
}
