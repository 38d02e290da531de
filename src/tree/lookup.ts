/** Lookups: from a key, through directories and links, to what it names. See rfc/5. */

import { TailraceError } from '../error.js'
import { componentsOf, type Key, parseKey } from '../treeobj/key.js'
import { type Dir, linksMax, type Symlink, type Treeobj, type Views } from '../treeobj/treeobj.js'
import { getEntry, notInMemory, peekEntry } from './dir.js'
import type { Nodes } from './nodes.js'
import type { Admit } from './rights.js'

/** A key in a namespace. */
type NamespaceKey = {
  readonly namespace: string
  readonly key: Key
}

/** The result of a lookup: the namespace and the key behind all links, and what the key names. */
export type Found = NamespaceKey & {
  /** Undefined if the key, or a namespace on the way, is missing. */
  readonly treeobj: Treeobj | undefined
  /** The keys that the result depends on: every key on the way, with the links and their targets,
   *  and the resolved key last. The result does not change while none of them changes. */
  readonly passed: readonly NamespaceKey[]
  /** Present if a component in the middle names a value, so that nothing can be below it. */
  readonly blocked?: true
}

/** Returns what a key names. Links in the middle are always followed, a link at the end if `follow`
 *  is true. `admit` judges each key that a link leads to. Throws ELOOP (more than `linksMax` links),
 *  EINVAL (the key behind a link is too long), EDANGLING, ECORRUPT, EIO, and what `admit` throws. */
export async function lookup(
  nodes: Nodes,
  views: Views,
  namespace: string,
  key: Key,
  options: { readonly follow: boolean; readonly admit?: Admit | undefined },
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
    options.admit?.(place.namespace, place.key)
  }
  throw new TailraceError('ELOOP', `"${key}" leads over more than ${linksMax} links`)
}

/** Returns what a key names, without a load: `notInMemory` if a node would have to be loaded, or a
 *  link to be followed. Throws ECORRUPT. */
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
  /** A link at the key `at`; `rest` has the components behind it. */
  | { readonly link: Symlink; readonly at: Key; readonly rest: string }

/** Walks to the end of a key, or to the first link that has to be followed. */
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

/** Returns a key with all keys above it, top first, without the root directory. For the key of the
 *  root directory it returns only that. */
function placesOf({ namespace, key }: NamespaceKey): NamespaceKey[] {
  const components = componentsOf(key)
  if (components.length === 0) return [{ namespace, key }]
  return components.map((_, at) => ({
    namespace,
    key: components.slice(0, at + 1).join('/') as Key,
  }))
}
