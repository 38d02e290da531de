/** Who must look again when a root moves. See rfc/7.
 *  Invariant: a follower is marked by every root that names something it depends on, from the moment
 *  it begins to look; a mark is an integer and a flag, whatever happens in between. */

import { Wakeup } from '../base/wakeup.js'
import type { Root } from '../engine/engine.js'

/** A key of a namespace that a follower passed on its way. */
export type Passed = { readonly namespace: string; readonly key: string }

export class Follower {
  readonly namespace: string
  /** Wakes with each mark. */
  readonly moved = new Wakeup()
  /** Wakes when the follower has looked at all that it was marked by. */
  readonly rested = new Wakeup()
  #looked = -1
  #dependencies: ReadonlySet<string> = new Set()
  #seq: number | undefined
  #elsewhere = false

  constructor(namespace: string) {
    this.namespace = namespace
  }

  get dependencies(): ReadonlySet<string> {
    return this.#dependencies
  }

  depend(dependencies: ReadonlySet<string>): void {
    this.#dependencies = dependencies
  }

  /** Something moved: a root of its own namespace, or something `elsewhere`. */
  mark(seq: number | undefined): void {
    if (seq === undefined) this.#elsewhere = true
    else this.#seq ??= seq
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

  /** The first own seq and whether anything else was marked since the last call. */
  take(): { readonly seq: number | undefined; readonly elsewhere: boolean } {
    const marked = { seq: this.#seq, elsewhere: this.#elsewhere }
    this.#seq = undefined
    this.#elsewhere = false
    return marked
  }

  /** A root that names no keys concerns everybody. */
  concernedBy(namespace: string, root: Root): boolean {
    if (!root.keys) return true
    return root.keys.some((key) => this.#dependencies.has(idOf(namespace, key)))
  }
}

export class Followers {
  readonly #byDependency = new Map<string, Set<Follower>>()
  /** Those that pass a namespace, and those that wait for it. */
  readonly #byNamespace = new Map<string, Set<Follower>>()
  /** Those that look right now: what they will depend on is not known yet. */
  readonly #looking = new Set<Follower>()

  add(namespace: string): Follower {
    const follower = new Follower(namespace)
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
      follower.mark(follower.namespace === namespace ? root.seq : undefined)
    }
  }

  /** A namespace was made, or has ended. */
  changed(namespace: string): void {
    for (const follower of this.#looking) follower.mark(undefined)
    for (const follower of this.#byNamespace.get(namespace) ?? []) follower.mark(undefined)
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
