/** What a key is at each root that concerns it, in order. See rfc/7.
 *  Invariant: no root that names a key on the way to it is left out, unless it is no more retained,
 *  and then the newest is marked `skipped`. Nothing is looked up before it is asked for. */

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

/** Roots read from the log at a time. */
const rootsPerStep = 64

/** The store, as far as watches need it: `KeyStore` is one. */
export interface WatchedStore {
  readonly reader: Reader
  readonly nodes: Nodes
  readonly spaces: { readonly past: Past }
  peekNamespace(name: string): LiveNamespace | undefined
  snapshot(live: LiveNamespace, root: Root): Promise<HeldSnapshot>
  listen(listener: StoreListener): Disposable
}

export type SeenRoot = {
  readonly live: LiveNamespace
  readonly root: Root
  readonly found: Found
  /** Older roots that may have named the key are no more retained. */
  readonly skipped: boolean
  /** The root named the lease of the key, and not the key. */
  readonly leaseOnly: boolean
  /** A collection leaves what was found alone until the next sight is asked for, or this is disposed of:
   *  one who waits for its consumer lets go first. */
  readonly held: Disposable
}

export type Sight =
  | SeenRoot
  /** The namespace is not there (any more): ENONS, or ECLOSED when the store closes. */
  | { readonly gone: TailraceError }

/** Begins with what is there now. Ends only with the signal (ECANCELED) or an error of a lookup; the
 *  follower, which is the caller's to add, is then removed. */
export async function* sights(
  store: WatchedStore,
  followers: Followers,
  follower: Follower,
  key: Key,
  signal: AbortSignal,
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
  let held: Disposable = { [Symbol.dispose]: () => {} }
  let live: LiveNamespace | undefined
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
          const { root } = live // no await between this and the look, or a root between is lost
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
          // The floor may have moved since; from here to the look there is no await.
          const [first] = roots
          const gap = older || (first !== undefined && first.seq < (live.retention.known ?? 0))
          const concerned = gap ? [live.root] : roots
          if (concerned.length === 0) break
          for (const root of concerned) {
            next = root.seq + 1
            const concern = gap ? 'key' : follower.concernedBy(namespace, root)
            if (!concern) continue
            yield await look(live, root, { skipped: gap, concern })
            // While the consumer took its time the next of them may have gone.
            break
          }
        }
      } else if (marked.elsewhere && !live.ended) {
        yield await look(live, live.root, { concern: marked.elsewhere })
      }
      // What was committed before the end was delivered above.
      if (live?.ended && follower.moved.count === seen) {
        const { ended } = live
        live = undefined
        told = true
        yield { gone: ended }
        continue
      }
      follower.rest(seen)
      await follower.moved.wait(seen, signal)
    }
  } finally {
    held[Symbol.dispose]()
    followers.remove(follower)
    follower.rest(Number.POSITIVE_INFINITY)
  }
}

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
