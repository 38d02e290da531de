/** Sights of a key: the results of looking it up at each root that concerns it, in order. See
 *  rfc/7, rules 2, 6 and 7.
 *  Invariant: no root that names the key, or a key on the way to it, is left out while it is
 *  retained. If such roots are no longer retained, the newest root takes their place and is marked
 *  `skipped`. Nothing is looked up before it is asked for. */

import type { Signal } from '../base/abort.js'
import type { Root } from '../engine/engine.js'
import { TailraceError } from '../error.js'
import type { Reader, Snapshot } from '../kvs/read.js'
import type { HeldSnapshot } from '../kvs/snapshot.js'
import type { LiveNamespace, StoreListener } from '../past/namespace.js'
import type { Past } from '../past/past.js'
import type { Found } from '../tree/lookup.js'
import type { Nodes } from '../tree/nodes.js'
import type { Rights } from '../tree/rights.js'
import { leaseMark } from '../tree/root.js'
import type { Key } from '../treeobj/key.js'
import type { Concern, Follower, Followers } from './followers.js'

/** The largest number of roots that are read from the root log at once. */
const rootsPerStep = 64

/** The part of the store that watches need. `KeyStore` implements it. */
export interface WatchedStore {
  readonly reader: Reader
  readonly nodes: Nodes
  readonly spaces: { readonly past: Past }
  peekNamespace(name: string): LiveNamespace | undefined
  snapshot(live: LiveNamespace, root: Root, rights?: Rights): Promise<HeldSnapshot>
  listen(listener: StoreListener): Disposable
}

/** A key as it was found at a root. */
export type SeenRoot = {
  readonly live: LiveNamespace
  readonly root: Root
  readonly found: Found
  /** True if older roots that may have named the key are no longer retained. */
  readonly skipped: boolean
  /** True if the root named the lease of the key, and not the key. */
  readonly leaseOnly: boolean
  /** Keeps what was found from collections, until the next sight is asked for or until disposal.
   *  Dispose of it before a wait for a slow consumer. */
  readonly held: Disposable
}

/** One result of following a key. */
export type Sight =
  | SeenRoot
  /** The namespace does not exist, or has ended: ENONS, or ECLOSED if the store closes. */
  | { readonly gone: TailraceError }

/** The sights of one key; the first one is at the newest root. Mutable; dispose of them in the end. */
export class Sights implements Disposable {
  readonly follower: Follower
  readonly #store: WatchedStore
  readonly #followers: Followers
  readonly #key: Key
  /** The rights of the watchers on keys that links lead to; undefined: all. */
  readonly #rights: Rights | undefined
  /** Keeps the last sight from collections. */
  #held: Disposable | undefined
  #live: LiveNamespace | undefined
  /** True if the consumer knows that the namespace does not exist. */
  #told = false
  /** The seq of the first root that was not looked at. */
  #next = 0
  /** True while there may be roots from `#next` on that name the key. */
  #isBehind = false
  /** The count of the follower's marks at the last look at them; -1 before the first. */
  #seen = -1

  /** REQUIRES: the caller has added the follower to `followers`. */
  constructor(
    store: WatchedStore,
    followers: Followers,
    follower: Follower,
    place: { readonly key: Key; readonly rights: Rights | undefined },
  ) {
    this.#store = store
    this.#followers = followers
    this.follower = follower
    this.#key = place.key
    this.#rights = place.rights
  }

  /** True if the follower was marked since `next` last resolved to nothing. */
  get isMarked(): boolean {
    return this.follower.moved.count !== this.#seen
  }

  /** Resolves to the next sight; undefined once there is none before the follower is marked again.
   *  REQUIRES: no other `next` is under way. Throws the error of a lookup. */
  async next(): Promise<Sight | undefined> {
    const { follower } = this
    for (;;) {
      if (!this.#isBehind) follower.rest(this.#seen)
      const sight = await (this.#isBehind ? this.#nextRoot() : this.#afterMarks())
      if (sight) return sight
      // All roots from before the end of the namespace were given above.
      if (this.#live?.ended && !this.isMarked) {
        const { ended } = this.#live
        this.#live = undefined
        this.#told = true
        return { gone: ended }
      }
      // A follower that waits keeps nothing alive but itself: there may be very many.
      this.#letGo()
      follower.rest(this.#seen)
      if (!this.isMarked) return undefined
    }
  }

  /** Yields sight after sight, until the signal aborts: ECANCELED. Throws what `next` throws. */
  async *until(signal: Signal): AsyncGenerator<Sight, void, undefined> {
    try {
      for (;;) {
        const sight = await this.next()
        if (sight) yield sight
        else await this.follower.moved.wait(this.#seen, signal)
      }
    } finally {
      this[Symbol.dispose]()
    }
  }

  [Symbol.dispose](): void {
    this.#letGo()
    this.#followers.remove(this.follower)
    this.follower.rest(Number.POSITIVE_INFINITY)
  }

  /** Looks at the marks of the follower, and gives the sight that they ask for. */
  async #afterMarks(): Promise<Sight | undefined> {
    const { follower } = this
    const { namespace } = follower
    this.#seen = follower.moved.count
    const marked = follower.take()
    if (!this.#live) {
      const live = this.#store.peekNamespace(namespace)
      if (live && !live.ended) {
        // No await may come between this line and `look`: a root that moved there would be lost.
        const { root } = live
        this.#live = live
        this.#next = root.seq + 1
        this.#told = false
        return this.#look(live, root)
      }
      if (this.#told) return undefined
      this.#told = true
      return { gone: new TailraceError('ENONS', `there is no namespace ${namespace}`) }
    }
    if (marked.seq !== undefined) {
      this.#next = Math.max(this.#next, marked.seq)
      this.#isBehind = true
      return this.#nextRoot()
    }
    if (!marked.elsewhere || this.#live.ended) return undefined
    return this.#look(this.#live, this.#live.root, { concern: marked.elsewhere })
  }

  /** Gives the sight of the next root that names the key. The rest is read anew by the next call: it
   *  may be no longer retained once the consumer comes back. */
  async #nextRoot(): Promise<Sight | undefined> {
    const { follower } = this
    const live = this.#live
    while (live && this.#next <= live.root.seq) {
      const { roots, gap: older } = await live.roots.since(this.#next, rootsPerStep)
      // The floor may have moved during the read. No await may come between this line and `look`.
      const [first] = roots
      const gap = older || (first !== undefined && first.seq < (live.retention.known ?? 0))
      const concerned = gap ? [live.root] : roots
      if (concerned.length === 0) break
      for (const root of concerned) {
        this.#next = root.seq + 1
        const concern = gap ? 'key' : follower.concernedBy(follower.namespace, root)
        if (concern) return this.#look(live, root, { skipped: gap, concern })
      }
    }
    this.#isBehind = false
    return undefined
  }

  async #look(
    live: LiveNamespace,
    root: Root,
    about: { readonly skipped?: boolean; readonly concern?: Concern } = {},
  ): Promise<SeenRoot> {
    this.#followers.look(this.follower)
    this.#letGo()
    const snapshot = await this.#store.snapshot(live, root, this.#rights)
    this.#held = snapshot
    const found = await lookUp(this.#store, this.#followers, this.follower, {
      snapshot,
      key: this.#key,
    })
    const { skipped = false, concern = 'key' } = about
    return { live, root, found, skipped, leaseOnly: concern === 'lease', held: snapshot }
  }

  #letGo(): void {
    this.#held?.[Symbol.dispose]()
    this.#held = undefined
  }
}

/** Looks a key up, and lets the follower depend on what the lookup passed. */
async function lookUp(
  store: WatchedStore,
  followers: Followers,
  follower: Follower,
  at: { readonly snapshot: Snapshot; readonly key: Key },
): Promise<Found> {
  const found = await store.reader.find(at.snapshot, at.key, { follow: true })
  const { namespace } = found
  const lease = follower.leases ? [{ namespace, key: leaseMark(found.key) }] : []
  followers.settle(follower, [...found.passed, ...lease])
  return found
}
