/** The watch service. It hears of each root that moves and wakes the watchers that the root
 *  concerns; each watcher then reads what it has not seen. See rfc/7, rules 5 to 8 and 15.
 *  Invariant: a slow watcher costs its position only. When the last watcher of a key has gone, the
 *  service keeps nothing of that key. */

import type { Kvs } from '../api/kvs.js'
import { primary } from '../api/namespace.js'
import type { From, WatchEvent, Watching, WatchOptions } from '../api/watch.js'
import { onAbort } from '../base/abort.js'
import type { Environment } from '../base/environment.js'
import { parseBlobref } from '../blob/blobref.js'
import type { Content } from '../content/content.js'
import type { Root } from '../engine/engine.js'
import { isCode, TailraceError } from '../error.js'
import type { LiveNamespace, StoreListener } from '../past/namespace.js'
import { type Key, parseKey, parseNamespaceName } from '../treeobj/key.js'
import type { Treeobj } from '../treeobj/treeobj.js'
import { AppendKey } from './append-key.js'
import { watchAppend } from './append-watch.js'
import { type Follower, Followers } from './followers.js'
import { sights, type WatchedStore } from './sights.js'
import { ValueLoads } from './value-loads.js'
import { watchValue } from './value-watch.js'

/** The watchers of one append key, and what they share. */
type Shared = {
  readonly appendKey: AppendKey
  readonly follower: Follower
  readonly end: AbortController
  watchers: number
}

/** The watches of one store. Mutable; close it before the store. */
export class WatchService implements StoreListener, Pick<Kvs, 'watch'> {
  readonly #store: WatchedStore
  readonly #content: Content
  readonly #loads: ValueLoads
  readonly #environment: Environment
  readonly #followers = new Followers()
  readonly #shared = new Map<string, Shared>()
  readonly #watching = new Set<AbortController>()
  #closed = false

  constructor(store: WatchedStore, content: Content, environment: Environment) {
    this.#store = store
    this.#loads = new ValueLoads(store)
    this.#content = content
    this.#environment = environment
    store.listen(this)
  }

  /** The number of watchers now. */
  get count(): number {
    return this.#watching.size
  }

  moved(namespace: LiveNamespace, root: Root): void {
    this.#followers.moved(namespace.name, root)
  }

  changed(namespace: LiveNamespace): void {
    this.#followers.changed(namespace.name)
  }

  watch(key: string, options: WatchOptions): Watching {
    const namespace = parseNamespaceName(options.namespace ?? primary)
    const at = { namespace, key: parseKey(key) }
    const from = parseFrom(options.from)
    if (options.lease && options.mode !== 'value') {
      throw new TailraceError('EINVAL', 'a lease is watched in value mode')
    }
    if (options.uniq && options.mode !== 'value') {
      throw new TailraceError('EINVAL', 'uniq goes with value mode: every append is delivered')
    }
    if (from !== undefined && options.mode === 'value') {
      throw new TailraceError('EINVAL', 'from goes with append mode: values begin with the newest')
    }
    const own = new AbortController()
    const events = this.#events(at, { ...options, from }, own)
    return iterate(events, own)
  }

  /** Ends every watcher with ECLOSED. */
  close(): void {
    this.#closed = true
    const reason = closedError()
    for (const own of [...this.#watching]) own.abort(reason)
  }

  async *#events(
    at: { readonly namespace: string; readonly key: Key },
    options: Omit<WatchOptions, 'from'> & { readonly from: From | undefined },
    own: AbortController,
  ): AsyncGenerator<WatchEvent, void, undefined> {
    const { mode, from, waitCreate = false, uniq = false, lease = false, signal } = options
    const abort = () => own.abort(signal?.reason)
    const endAbort = onAbort(signal, abort)
    if (signal?.aborted) abort()
    this.#watching.add(own)
    try {
      if (this.#closed) throw closedError()
      if (mode === 'value') {
        const follower = this.#followers.add(at.namespace, { leases: lease })
        const seen = sights(this.#store, this.#followers, follower, at.key, own.signal)
        const ports = { loads: this.#loads, signal: own.signal }
        yield* watchValue(this.#store, seen, { key: at.key, waitCreate, uniq, lease }, ports)
        return
      }
      const id = `${at.namespace}\0${at.key}`
      const shared = this.#share(id, at)
      try {
        const ports = {
          content: this.#content,
          nodes: this.#store.nodes,
          monotonic: this.#environment.monotonic,
        }
        // The watch must see every commit that was answered before it began, and the root of its
        // events must be readable. The others may have looked long ago, so the follower looks
        // again.
        if (shared.watchers > 1) shared.follower.mark(undefined)
        await shared.follower.catchUp(own.signal)
        yield* watchAppend(ports, shared.appendKey, { from, waitCreate }, own.signal)
      } finally {
        this.#release(id, shared)
      }
    } finally {
      endAbort()
      this.#watching.delete(own)
    }
  }

  #share(id: string, at: { readonly namespace: string; readonly key: Key }): Shared {
    const known = this.#shared.get(id)
    if (known) {
      known.watchers++
      return known
    }
    const end = new AbortController()
    const { monotonic, timer } = this.#environment
    const { holds } = this.#store.spaces.past
    const hold = (treeobj: Treeobj) => holds.holdTreeobj(treeobj)
    const appendKey = new AppendKey(at.key, this.#store.nodes, monotonic, { hold, timer })
    const follower = this.#followers.add(at.namespace, { leases: false })
    const shared: Shared = { appendKey, follower, end, watchers: 1 }
    this.#shared.set(id, shared)
    const seen = sights(this.#store, this.#followers, follower, at.key, end.signal)
    // It ends with an error that its watchers get, or when the last of them has gone. A later
    // watcher of the key begins anew.
    void appendKey.follow(seen).finally(() => {
      appendKey.release()
      this.#forget(id, shared)
    })
    return shared
  }

  #release(id: string, shared: Shared): void {
    if (--shared.watchers > 0) return
    this.#forget(id, shared)
    shared.end.abort()
  }

  #forget(id: string, shared: Shared): void {
    if (this.#shared.get(id) === shared) this.#shared.delete(id)
  }
}

function closedError(): TailraceError {
  return new TailraceError('ECLOSED', 'the store is closed')
}

/** Makes the iterator of a watch. Leaving its loop, or `return()` at any time, also ends a `next()`
 *  that still waits. */
function iterate(
  events: AsyncGenerator<WatchEvent, void, undefined>,
  own: AbortController,
): Watching {
  let left = false
  const watching: Watching = {
    async next() {
      try {
        return await events.next()
      } catch (error) {
        if (left && isCode(error, 'ECANCELED')) return { done: true, value: undefined }
        throw error
      }
    },
    async return() {
      left = true
      own.abort()
      await events.return()
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]: () => watching,
  }
  return watching
}

/** Throws EINVAL. */
function parseFrom(from: From | undefined): From | undefined {
  if (from === undefined) return undefined
  const whole = (value: number, least: number) => Number.isSafeInteger(value) && value >= least
  if (typeof from === 'number') {
    if (whole(from, Number.MIN_SAFE_INTEGER)) return from
  } else if ('prefix' in from) {
    parseBlobref(from.prefix)
    if (whole(from.index, 0) && typeof from.incarnation === 'string') return from
  } else if (whole(from.offset, 0)) return from
  throw new TailraceError(
    'EINVAL',
    'from is an index, {offset} or a position {incarnation, index, prefix}',
  )
}
