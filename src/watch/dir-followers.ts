/** The followers of directories: each is marked by the roots that change a key at, below or above its
 *  own. See rfc/7, rule 26.
 *  Invariant: a root costs one look for each component of each key that it names, however many
 *  followers there are, and marks none that it does not concern. */

import { addTo, dropFrom, each, type Few } from '../base/few.js'
import { Wakeup } from '../base/wakeup.js'
import type { Root } from '../engine/engine.js'
import { isLeaseMark } from '../tree/root.js'
import { componentsOf, type Key } from '../treeobj/key.js'

/** Follows all that is below one key. */
export class DirFollower {
  readonly namespace: string
  readonly key: Key
  /** Wakes with each root that concerns it, and when its namespace is made or ends. */
  readonly moved = new Wakeup()

  constructor(namespace: string, key: Key) {
    this.namespace = namespace
    this.key = key
  }
}

/** All followers of directories of a store. Mutable; owned by the watch service. */
export class DirFollowers {
  /** The followers of each key. */
  readonly #byKey = new Map<string, Few<DirFollower>>()
  /** The followers of keys below each key: who replaces a directory changes all that is in it. */
  readonly #below = new Map<string, Few<DirFollower>>()
  readonly #byNamespace = new Map<string, Few<DirFollower>>()

  /** Adds a follower. Remove it in the end. */
  add(namespace: string, key: Key): DirFollower {
    const follower = new DirFollower(namespace, key)
    addTo(this.#byNamespace, namespace, follower)
    addTo(this.#byKey, idOf(namespace, key), follower)
    for (const above of keysAbove(key)) addTo(this.#below, idOf(namespace, above), follower)
    return follower
  }

  remove(follower: DirFollower): void {
    const { namespace, key } = follower
    dropFrom(this.#byNamespace, namespace, follower)
    dropFrom(this.#byKey, idOf(namespace, key), follower)
    for (const above of keysAbove(key)) dropFrom(this.#below, idOf(namespace, above), follower)
  }

  /** Marks the followers that a new root of the namespace concerns. */
  moved(namespace: string, root: Root): void {
    if (!this.#byNamespace.has(namespace)) return
    if (!root.keys) {
      this.changed(namespace)
      return
    }
    const concerned = new Set<DirFollower>()
    for (const key of root.keys) {
      if (isLeaseMark(key)) continue
      const id = idOf(namespace, key)
      for (const follower of each(this.#byKey.get(id))) concerned.add(follower)
      for (const follower of each(this.#below.get(id))) concerned.add(follower)
      for (const above of keysAbove(key as Key)) {
        for (const follower of each(this.#byKey.get(idOf(namespace, above)))) {
          concerned.add(follower)
        }
      }
    }
    for (const { moved } of concerned) moved.wake()
  }

  /** Marks all followers of a namespace. */
  changed(namespace: string): void {
    for (const { moved } of each(this.#byNamespace.get(namespace))) moved.wake()
  }
}

/** Returns the keys above a key, the root directory first. */
function keysAbove(key: Key): string[] {
  const components = componentsOf(key)
  return components.map((_, depth) => components.slice(0, depth).join('/'))
}

function idOf(namespace: string, key: string): string {
  return `${namespace}\0${key}`
}
