/** Who must look again when a root moves. See rfc/7.
 *  Invariant: a follower is marked by every root that names something it depends on, from the moment
 *  it begins to look; a mark is an integer and a flag, whatever happens in between. */

import { Wakeup } from '../base/wakeup.js'
import type { Root } from '../engine/engine.js'
import { isLeaseMark } from '../tree/root.js'

/** What a mark is about: the key, or what leads to it; or only its lease. */
export type Concern = 'key' | 'lease'

/** A key of a namespace that a follower passed on its way. */
export type Passed = { readonly namespace: string; readonly key: string }

export class Follower {
  readonly namespace: string
  /** Asks for the lease of its key, too. */
  readonly leases: boolean
  /** Wakes with each mark. */
  readonly moved = new Wakeup()
  /** Wakes when the follower has looked at all that it was marked by. */
  readonly rested = new Wakeup()
  #looked = -1
  #dependencies: ReadonlySet<string> = new Set()
  #seq: number | undefined
  #elsewhere: Concern | undefined

  constructor(namespace: string, options: { readonly leases: boolean }) {
    this.namespace = namespace
    this.leases = options.leases
  }

  get dependencies(): ReadonlySet<string> {
    return this.#dependencies
  }

  depend(dependencies: ReadonlySet<string>): void {
    this.#dependencies = dependencies
  }

  /** Something moved: a root of its own namespace, or something `elsewhere`. */
  mark(seq: number | undefined, concern: Concern = 'key'): void {
    if (seq !== undefined) this.#seq ??= seq
    else if (this.#elsewhere !== 'key') this.#elsewhere = concern
    this.moved.wake()
  }

  /** All marks up to `count` (of `moved`) have been looked at. */
  rest(count: number): void {
    this.#looked = count
    this.rested.wake()
  }

  /** Waits until everything that moved before this call has been looked at. Throws ECANCELED. */
  async catchUp(signal: AbortSignal): Promise<void> {
    const moved = this.moved.count
    for (;;) {
      const seen = this.rested.count
      if (this.#looked >= moved) return
      await this.rested.wait(seen, signal)
    }
  }

  /** The first own seq and what else was marked since the last call. */
  take(): { readonly seq: number | undefined; readonly elsewhere: Concern | undefined } {
    const marked = { seq: this.#seq, elsewhere: this.#elsewhere }
    this.#seq = undefined
    this.#elsewhere = undefined
    return marked
  }

  /** A root that names no keys concerns everybody. */
  concernedBy(namespace: string, root: Root): Concern | undefined {
    if (!root.keys) return 'key'
    let concern: Concern | undefined
    for (const key of root.keys) {
      if (!this.#dependencies.has(idOf(namespace, key))) continue
      if (!isLeaseMark(key)) return 'key'
      concern = 'lease'
    }
    return concern
  }
}

export class Followers {
  readonly #byDependency = new Map<string, Set<Follower>>()
  /** Those that pass a namespace, and those that wait for it. */
  readonly #byNamespace = new Map<string, Set<Follower>>()
  /** Those that look right now: what they will depend on is not known yet. */
  readonly #looking = new Set<Follower>()

  add(namespace: string, options: { readonly leases: boolean }): Follower {
    const follower = new Follower(namespace, options)
    put(this.#byNamespace, namespace, follower)
    return follower
  }

  /** From here on every root marks the follower, until `settle`. */
  look(follower: Follower): void {
    this.#looking.add(follower)
  }

  settle(follower: Follower, passed: readonly Passed[]): void {
    const before = follower.dependencies
    const after = new Set(passed.map(({ namespace, key }) => idOf(namespace, key)))
    if (after.size !== before.size || [...after].some((id) => !before.has(id))) {
      this.#forget(follower)
      follower.depend(after)
      for (const id of after) put(this.#byDependency, id, follower)
      put(this.#byNamespace, follower.namespace, follower)
      for (const { namespace } of passed) put(this.#byNamespace, namespace, follower)
    }
    this.#looking.delete(follower)
  }

  remove(follower: Follower): void {
    this.#looking.delete(follower)
    this.#forget(follower)
  }

  moved(namespace: string, root: Root): void {
    const concerned = new Set(this.#looking)
    if (root.keys) {
      for (const key of root.keys) {
        for (const follower of this.#byDependency.get(idOf(namespace, key)) ?? []) {
          concerned.add(follower)
        }
      }
    } else {
      for (const follower of this.#byNamespace.get(namespace) ?? []) concerned.add(follower)
    }
    for (const follower of concerned) {
      if (follower.namespace === namespace) follower.mark(root.seq)
      // What one that looks will depend on is not known yet: all may be about its key.
      else follower.mark(undefined, this.#concernOf(follower, namespace, root))
    }
  }

  /** A namespace was made, or has ended. */
  changed(namespace: string): void {
    for (const follower of this.#looking) follower.mark(undefined)
    for (const follower of this.#byNamespace.get(namespace) ?? []) follower.mark(undefined)
  }

  #concernOf(follower: Follower, namespace: string, root: Root): Concern {
    if (!follower.leases || this.#looking.has(follower)) return 'key'
    return follower.concernedBy(namespace, root) ?? 'key'
  }

  #forget(follower: Follower): void {
    for (const id of follower.dependencies) {
      drop(this.#byDependency, id, follower)
      drop(this.#byNamespace, id.slice(0, id.indexOf('\0')), follower)
    }
    drop(this.#byNamespace, follower.namespace, follower)
  }
}

function idOf(namespace: string, key: string): string {
  return `${namespace}\0${key}`
}

function put(index: Map<string, Set<Follower>>, id: string, follower: Follower): void {
  const set = index.get(id)
  if (set) set.add(follower)
  else index.set(id, new Set([follower]))
}

function drop(index: Map<string, Set<Follower>>, id: string, follower: Follower): void {
  const set = index.get(id)
  if (!set?.delete(follower)) return
  if (set.size === 0) index.delete(id)
}
