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
import { leaseMark } from '../tree/root.js'
import type { Key } from '../treeobj/key.js'
import type { Concern, Follower, Followers } from './followers.js'

/** The largest number of roots that are read from the root log at once. */
const rootsPerStep = 64

const nothing: Disposable = { [Symbol.dispose]: () => {} }

/** The part of the store that watches need. `KeyStore` implements it. */
export interface WatchedStore {
  readonly reader: Reader
  readonly nodes: Nodes
  readonly spaces: { readonly past: Past }
  peekNamespace(name: string): LiveNamespace | undefined
  snapshot(live: LiveNamespace, root: Root): Promise<HeldSnapshot>
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

/** Gives the sights of a key; the first one is at the newest root. It ends by throwing only:
 *  ECANCELED (the signal), or the error of a lookup. Then the follower is removed. REQUIRES: the
 *  caller has added the follower to `followers`. */
export async function* sights(
  store: WatchedStore,
  followers: Followers,
  follower: Follower,
  key: Key,
  signal: Signal,
): AsyncGenerator<Sight, void, undefined> {
  const { namespace } = follower
  const look = async (
    live: LiveNamespace,
    root: Root,
    about: { readonly skipped?: boolean; readonly concern?: Concern } = {},
  ): Promise<SeenRoot> => {
    followers.look(follower)
    held[Symbol.dispose]()
    const snapshot = await store.snapshot(live, root)
    held = snapshot
    const found = await lookUp(store, followers, follower, { snapshot, key })
    const { skipped = false, concern = 'key' } = about
    return { live, root, found, skipped, leaseOnly: concern === 'lease', held }
  }
  let held: Disposable = nothing
  let live: LiveNamespace | undefined
  /** True if the consumer knows that the namespace does not exist. */
  let told = false
  let next = 0
  try {
    for (;;) {
      const seen = follower.moved.count
      const marked = follower.take()
      if (!live) {
        live = store.peekNamespace(namespace)
        if (live?.ended) live = undefined
        if (live) {
          // No await may come between this line and `look`: a root that moved there would be lost.
          const { root } = live
          next = root.seq + 1
          told = false
          yield await look(live, root)
        } else if (!told) {
          told = true
          yield { gone: new TailraceError('ENONS', `there is no namespace ${namespace}`) }
        }
      } else if (marked.seq !== undefined) {
        next = Math.max(next, marked.seq)
        while (next <= live.root.seq) {
          const { roots, gap: older } = await live.roots.since(next, rootsPerStep)
          // The floor may have moved during the read. No await may come between this line and
          // `look`.
          const [first] = roots
          const gap = older || (first !== undefined && first.seq < (live.retention.known ?? 0))
          const concerned = gap ? [live.root] : roots
          if (concerned.length === 0) break
          for (const root of concerned) {
            next = root.seq + 1
            const concern = gap ? 'key' : follower.concernedBy(namespace, root)
            if (!concern) continue
            yield await look(live, root, { skipped: gap, concern })
            // Read the rest anew: it may be no longer retained once the consumer comes back.
            break
          }
        }
      } else if (marked.elsewhere && !live.ended) {
        yield await look(live, live.root, { concern: marked.elsewhere })
      }
      // All roots from before the end of the namespace were delivered above.
      if (live?.ended && follower.moved.count === seen) {
        const { ended } = live
        live = undefined
        told = true
        yield { gone: ended }
        continue
      }
      // A follower that waits keeps nothing alive but itself: there may be very many.
      held[Symbol.dispose]()
      held = nothing
      follower.rest(seen)
      await follower.moved.wait(seen, signal)
    }
  } finally {
    held[Symbol.dispose]()
    followers.remove(follower)
    follower.rest(Number.POSITIVE_INFINITY)
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
