/** From a key to what it names, through directories and links. See rfc/5. */

import { TailraceError } from '../error.js'
import { getEntry, notInMemory, peekEntry } from './dir.js'
import { componentsOf, type Key, parseKey } from './key.js'
import type { Nodes } from './nodes.js'
import { type Dir, linksMax, type Symlink, type Treeobj, type Views } from './treeobj.js'

/** A key in a namespace. */
export type NamespaceKey = {
  readonly namespace: string
  readonly key: Key
}

export type Found = NamespaceKey & {
  /** Undefined where the key, or a namespace on the way, is not there. */
  readonly treeobj: Treeobj | undefined
  /** What the answer depends on: every key on the way, links and their targets, the resolved key last.
   *  It stays the same while none of them is changed. */
  readonly passed: readonly NamespaceKey[]
  /** A component in the middle is a value: nothing can be below. */
  readonly blocked?: true
}

/** Finds what a key names. Links in the middle are always followed, one at the end if `follow` says
 *  so. `namespace` and `key` of the answer are those after the links. Throws ELOOP (more than
 *  `linksMax`), EINVAL (a key gets too long by its links), EDANGLING, ECORRUPT, EIO. */
export async function lookup(
  nodes: Nodes,
  views: Views,
  namespace: string,
  key: Key,
  options: { readonly follow: boolean },
): Promise<Found> {
  const passed: NamespaceKey[] = []
  let place: NamespaceKey = { namespace, key }
  for (let links = 0; links <= linksMax; links++) {
    const step = await walk(nodes, views, place, options.follow)
    if (step.link === undefined) {
      passed.push(...placesOf(place))
      const { treeobj, blocked } = step
      return { ...place, treeobj, passed, ...(blocked && { blocked }) }
    }
    passed.push(...placesOf({ ...place, key: step.at }))
    place = {
      namespace: step.link.namespace ?? place.namespace,
      key:
        step.rest === ''
          ? parseKey(step.link.target)
          : parseKey(`${step.link.target}/${step.rest}`),
    }
  }
  throw new TailraceError('ELOOP', `"${key}" leads over more than ${linksMax} links`)
}

/** What a key names, without waiting; `notInMemory` where nodes are to be loaded or links to be followed. */
export function peekLookup(
  nodes: Nodes,
  dir: Dir,
  key: Key,
  options: { readonly follow: boolean },
): Treeobj | undefined | typeof notInMemory {
  let treeobj: Treeobj | undefined = dir
  const components = componentsOf(key)
  for (let at = 0; at < components.length; at++) {
    if (treeobj?.type !== 'dir') return undefined
    const peeked = peekEntry(nodes, treeobj, components[at] ?? '')
    if (peeked === notInMemory) return notInMemory
    const followed = at < components.length - 1 || options.follow
    if (peeked?.type === 'symlink' && followed) return notInMemory
    treeobj = peeked
  }
  return treeobj
}

type Step =
  | { readonly link?: undefined; readonly treeobj: Treeobj | undefined; readonly blocked?: true }
  /** A link at the key `at`, with what is left of the key behind it. */
  | { readonly link: Symlink; readonly at: Key; readonly rest: string }

/** Down to the end of a key, or to the first link that has to be followed. */
async function walk(
  nodes: Nodes,
  views: Views,
  place: NamespaceKey,
  follow: boolean,
): Promise<Step> {
  const view = views(place.namespace)
  let treeobj: Treeobj | undefined = view instanceof Promise ? await view : view
  const components = componentsOf(place.key)
  for (const [at, component] of components.entries()) {
    if (!treeobj) return { treeobj: undefined }
    if (treeobj.type !== 'dir') return { treeobj: undefined, blocked: true }
    const peeked = peekEntry(nodes, treeobj, component)
    treeobj = peeked === notInMemory ? await getEntry(nodes, treeobj, component) : peeked
    const last = at === components.length - 1
    if (treeobj?.type !== 'symlink' || (last && !follow)) continue
    const reached = components.slice(0, at + 1).join('/')
    const rest = components.slice(at + 1).join('/')
    return { link: treeobj, at: parseKey(reached), rest }
  }
  return { treeobj }
}

/** A key and all keys above it, top first; the root directory only where it is the key itself. */
function placesOf({ namespace, key }: NamespaceKey): NamespaceKey[] {
  const components = componentsOf(key)
  if (components.length === 0) return [{ namespace, key }]
  return components.map((_, at) => ({
    namespace,
    key: components.slice(0, at + 1).join('/') as Key,
  }))
}
