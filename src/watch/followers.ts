/** The followers of keys, and an index of what they depend on. A root that moves marks the
 *  followers that must look again. See rfc/7, rules 6 and 7.
 *  Invariant: from the moment it begins to look, a follower is marked by every root that names
 *  something it depends on. All its marks together take an integer and a flag. */

import type { Signal } from '../base/abort.js'
import { addTo, dropFrom, each, type Few } from '../base/few.js'
import { Wakeup } from '../base/wakeup.js'
import type { Root } from '../engine/engine.js'
import { isLeaseMark } from '../tree/root.js'

/** The subject of a mark: `key` for the key or a directory or link on the way to it, `lease` for
 *  the lease of the key alone. */
export type Concern = 'key' | 'lease'

/** A key that the lookup of a follower passed. */
type Passed = { readonly namespace: string; readonly key: string }

/** Follows one key for the watchers that share it. It holds the marks that it has not looked at. */
export class Follower {
  readonly namespace: string
  /** True if it also follows the lease of its key. */
  readonly leases: boolean
  /** Wakes with each mark. */
  readonly moved = new Wakeup()
  /** Wakes when the follower has looked at all its marks. */
  readonly rested = new Wakeup()
  /** Called with each mark, besides. */
  onMark: (() => void) | undefined
  /** The count of `moved` up to which the follower has looked. */
  #looked = -1
  #dependencies: readonly string[] = []
  /** The first seq of its own namespace that marked it since `take`. */
  #seq: number | undefined
  /** The mark of another namespace, or of the making or the end of one. */
  #elsewhere: Concern | undefined

  constructor(namespace: string, options: { readonly leases: boolean }) {
    this.namespace = namespace
    this.leases = options.leases
  }

  get dependencies(): readonly string[] {
    return this.#dependencies
  }

  depend(dependencies: readonly string[]): void {
    this.#dependencies = dependencies
  }

  /** Marks the follower and wakes it. `seq` is that of a root of its own namespace; undefined for
   *  another namespace, or for the making or the end of one. `concern` counts only without
   *  `seq`. */
  mark(seq: number | undefined, concern: Concern = 'key'): void {
    if (seq !== undefined) this.#seq ??= seq
    else if (this.#elsewhere !== 'key') this.#elsewhere = concern
    this.moved.wake()
    this.onMark?.()
  }

  /** Records that the follower has looked at all marks up to `count`, a count of `moved`. */
  rest(count: number): void {
    this.#looked = count
    this.rested.wake()
  }

  /** Waits until the follower has looked at every mark from before this call. Throws ECANCELED. */
  async catchUp(signal: Signal): Promise<void> {
    const moved = this.moved.count
    for (;;) {
      const seen = this.rested.count
      if (this.#looked >= moved) return
      await this.rested.wait(seen, signal)
    }
  }

  /** Returns the marks since the last call, and clears them. */
  take(): { readonly seq: number | undefined; readonly elsewhere: Concern | undefined } {
    const marked = { seq: this.#seq, elsewhere: this.#elsewhere }
    this.#seq = undefined
    this.#elsewhere = undefined
    return marked
  }

  /** Returns what a root changes for this follower; undefined if nothing. A root that names no keys
   *  may have changed the key. */
  concernedBy(namespace: string, root: Root): Concern | undefined {
    if (!root.keys) return 'key'
    let concern: Concern | undefined
    for (const key of root.keys) {
      if (!this.#dependencies.includes(idOf(namespace, key))) continue
      if (!isLeaseMark(key)) return 'key'
      concern = 'lease'
    }
    return concern
  }
}

/** All followers of a store. Mutable; owned by the watch service. */
export class Followers {
  readonly #byDependency = new Map<string, Few<Follower>>()
  /** The followers that pass a namespace, and those that wait for it to be made. */
  readonly #byNamespace = new Map<string, Few<Follower>>()
  /** The followers whose lookup runs now: their dependencies are not known yet. */
  readonly #looking = new Set<Follower>()

  /** Adds a follower of a key in that namespace. Remove it in the end. */
  add(namespace: string, options: { readonly leases: boolean }): Follower {
    const follower = new Follower(namespace, options)
    addTo(this.#byNamespace, namespace, follower)
    return follower
  }

  /** Begins a lookup: until `settle` every root marks the follower. */
  look(follower: Follower): void {
    this.#looking.add(follower)
  }

  /** Ends a lookup. From now on the follower depends on the keys that it passed. */
  settle(follower: Follower, passed: readonly Passed[]): void {
    const before = follower.dependencies
    // A lookup passes the key, and one key more for each link.
    const all = passed.map(({ namespace, key }) => idOf(namespace, key))
    const after = all.length === 1 ? all : [...new Set(all)]
    if (after.length !== before.length || after.some((id) => !before.includes(id))) {
      this.#forget(follower)
      follower.depend(after)
      for (const id of after) addTo(this.#byDependency, id, follower)
      addTo(this.#byNamespace, follower.namespace, follower)
      for (const { namespace } of passed) addTo(this.#byNamespace, namespace, follower)
    }
    this.#looking.delete(follower)
  }

  remove(follower: Follower): void {
    this.#looking.delete(follower)
    this.#forget(follower)
  }

  /** Marks every follower that a new root of the namespace concerns. */
  moved(namespace: string, root: Root): void {
    const concerned = new Set(this.#looking)
    if (root.keys) {
      for (const key of root.keys) {
        for (const follower of each(this.#byDependency.get(idOf(namespace, key)))) {
          concerned.add(follower)
        }
      }
    } else {
      for (const follower of each(this.#byNamespace.get(namespace))) concerned.add(follower)
    }
    for (const follower of concerned) {
      if (follower.namespace === namespace) follower.mark(root.seq)
      // The root may concern the key of a follower whose lookup runs: its dependencies are unknown.
      else follower.mark(undefined, this.#concernOf(follower, namespace, root))
    }
  }

  /** Marks the followers of a namespace that was made, or has ended. */
  changed(namespace: string): void {
    for (const follower of this.#looking) follower.mark(undefined)
    for (const follower of each(this.#byNamespace.get(namespace))) follower.mark(undefined)
  }

  #concernOf(follower: Follower, namespace: string, root: Root): Concern {
    if (!follower.leases || this.#looking.has(follower)) return 'key'
    return follower.concernedBy(namespace, root) ?? 'key'
  }

  #forget(follower: Follower): void {
    for (const id of follower.dependencies) {
      dropFrom(this.#byDependency, id, follower)
      dropFrom(this.#byNamespace, id.slice(0, id.indexOf('\0')), follower)
    }
    dropFrom(this.#byNamespace, follower.namespace, follower)
  }
}

function idOf(namespace: string, key: string): string {
  return `${namespace}\0${key}`
}
