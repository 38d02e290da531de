/** The watch service. It hears of each root that moves and wakes the watchers that the root
 *  concerns; each watcher then reads what it has not seen. See rfc/7, rules 5 to 8 and 15.
 *  Invariant: a slow watcher costs its position only. When the last watcher of a key has gone, the
 *  service keeps nothing of that key. */

import type { Kvs } from '../api/kvs.js'
import { primary } from '../api/namespace.js'
import type { From, WatchEvent, Watching, WatchOptions } from '../api/watch.js'
import type { LightSignal } from '../base/abort.js'
import type { Environment } from '../base/environment.js'
import { parseBlobref } from '../blob/blobref.js'
import type { Content } from '../content/content.js'
import type { Root } from '../engine/engine.js'
import { TailraceError } from '../error.js'
import type { LiveNamespace, StoreListener } from '../past/namespace.js'
import type { Rights } from '../tree/rights.js'
import { type Key, parseKey, parseNamespaceName } from '../treeobj/key.js'
import type { Treeobj } from '../treeobj/treeobj.js'
import { AppendKey } from './append-key.js'
import { AppendWatch, type AppendWatchPorts } from './append-watch.js'
import { type ChangesStart, ChangesWatch } from './changes-watch.js'
import { DirFollowers } from './dir-followers.js'
import { type Follower, Followers } from './followers.js'
import { SourceReader, type WatchReader, type WatchSource } from './reader.js'
import { RecentEvents } from './recent-events.js'
import { Sights, type WatchedStore } from './sights.js'
import { ValueLoads } from './value-loads.js'
import { watchValue } from './value-watch.js'
import { watchingOf } from './watching.js'

/** The watchers of one append key, and what they share. */
type Shared = {
  readonly appendKey: AppendKey
  readonly follower: Follower
  watchers: number
}

/** The key of a watch, and the rights of the watcher on keys that links lead to (undefined: all). */
type Place = {
  readonly namespace: string
  readonly key: Key
  readonly rights: Rights | undefined
}

/** The watches of one store. Mutable; close it before the store. */
export class WatchService implements StoreListener, Pick<Kvs, 'watch'> {
  readonly #store: WatchedStore
  readonly #loads: ValueLoads
  readonly #appendPorts: AppendWatchPorts
  readonly #environment: Environment
  readonly #followers = new Followers()
  readonly #dirFollowers = new DirFollowers()
  readonly #shared = new Map<string, Shared>()
  readonly #watching = new Set<SourceReader>()
  #closed = false

  constructor(store: WatchedStore, content: Content, environment: Environment) {
    this.#store = store
    this.#loads = new ValueLoads(store)
    this.#environment = environment
    const { nodes } = store
    const recent = new RecentEvents({ content, nodes })
    this.#appendPorts = { content, nodes, recent, monotonic: environment.monotonic }
    store.listen(this)
  }

  /** The number of watchers now. */
  get count(): number {
    return this.#watching.size
  }

  moved(namespace: LiveNamespace, root: Root): void {
    this.#followers.moved(namespace.name, root)
    this.#dirFollowers.moved(namespace.name, root)
  }

  changed(namespace: LiveNamespace): void {
    this.#followers.changed(namespace.name)
    this.#dirFollowers.changed(namespace.name)
  }

  watch(key: string, options: WatchOptions, rights?: Rights): Watching {
    const { signal } = options
    const reader = this.read(key, options, rights)
    return watchingOf(reader, signal)
  }

  /** Begins a watch whose events are asked for one by one. `options.signal` means nothing here: end
   *  the reader instead. `rights` are those of the watcher on keys that links lead to: a link to
   *  another key ends the watch with EPERM. Absent: all. Throws EINVAL. */
  read(key: string, options: WatchOptions, rights?: Rights): WatchReader {
    const namespace = parseNamespaceName(options.namespace ?? primary)
    const at = { namespace, key: parseKey(key), rights }
    const from = parseFrom(options.from)
    const { mode, waitCreate = false, uniq = false, lease = false, initial = false } = options
    if (mode === 'changes') return this.#readChanges(at, options)
    if (initial || options.since !== undefined) {
      const message = 'since and initial go with changes mode: an append watch has from'
      throw new TailraceError('EINVAL', message)
    }
    if (lease && mode !== 'value') {
      throw new TailraceError('EINVAL', 'a lease is watched in value mode')
    }
    if (uniq && mode !== 'value') {
      throw new TailraceError('EINVAL', 'uniq goes with value mode: every append is delivered')
    }
    if (options.lend && mode !== 'append') {
      throw new TailraceError('EINVAL', 'lend goes with append mode: values are not lent')
    }
    if (from !== undefined && mode === 'value') {
      throw new TailraceError('EINVAL', 'from goes with append mode: values begin with the newest')
    }
    return new SourceReader(this.#watching, (own) => {
      if (this.#closed) throw closedError()
      if (mode === 'value') return this.#openValues(at, { waitCreate, uniq, lease }, own)
      return this.#openAppends(at, { from, waitCreate }, own)
    })
  }

  /** Ends every watcher with ECLOSED. */
  close(): void {
    this.#closed = true
    const reason = closedError()
    for (const reader of [...this.#watching]) reader.end(reason)
  }

  #readChanges(at: Place, options: WatchOptions): WatchReader {
    const { since, initial = false } = options
    const stray = (['from', 'waitCreate', 'uniq', 'lease', 'lend'] as const).find(
      (name) => options[name] !== undefined && options[name] !== false,
    )
    if (stray !== undefined) {
      throw new TailraceError('EINVAL', `${stray} means nothing in changes mode`)
    }
    if (initial && since !== undefined) {
      throw new TailraceError(
        'EINVAL',
        'initial begins with all that is there: it goes without since',
      )
    }
    return new SourceReader(this.#watching, (own) => {
      if (this.#closed) throw closedError()
      return this.#openChanges(at, { since, initial }, own)
    })
  }

  #openChanges({ namespace, key }: Place, start: ChangesStart, own: LightSignal): WatchSource {
    const follower = this.#dirFollowers.add(namespace, key)
    const { timer } = this.#environment
    const watch = new ChangesWatch({ store: this.#store, follower, timer }, key, start)
    return {
      take: () => undefined,
      next: () => watch.next(own),
      rest: () => undefined,
      release: () => {},
      [Symbol.dispose]: () => {
        this.#dirFollowers.remove(follower)
        watch[Symbol.dispose]()
      },
    }
  }

  #openValues(
    at: Place,
    options: { readonly waitCreate: boolean; readonly uniq: boolean; readonly lease: boolean },
    own: LightSignal,
  ): WatchSource {
    const follower = this.#followers.add(at.namespace, { leases: options.lease })
    const sights = new Sights(this.#store, this.#followers, follower, at)
    const ports = { loads: this.#loads, signal: own }
    const given = { key: at.key, ...options }
    const events = watchValue(this.#store, sights.until(own), given, ports)
    return {
      take: () => undefined,
      next: async () => {
        const next = await events.next()
        return next.done ? undefined : next.value
      },
      rest: () => undefined,
      release: () => {},
      // It ends by itself if it waits: its signal was aborted before.
      [Symbol.dispose]: () => void events.return(),
    }
  }

  async #openAppends(
    at: Place,
    options: { readonly from: From | undefined; readonly waitCreate: boolean },
    own: LightSignal,
  ): Promise<WatchSource> {
    // Watchers with different rights do not share an AppendKey: a link may be open to one of them and
    // closed to another.
    const id = `${at.namespace}\0${at.key}\0${at.rights?.id ?? ''}`
    const shared = this.#share(id, at)
    try {
      // The watch must see every commit that was answered before it began, and the root of its
      // events must be readable. The others may have looked long ago, so the follower looks
      // again.
      if (shared.watchers > 1) shared.follower.mark(undefined)
      await shared.follower.catchUp(own)
    } catch (error) {
      this.#release(id, shared)
      throw error
    }
    const watch = new AppendWatch(this.#appendPorts, shared.appendKey, { ...options, signal: own })
    return new SharedAppends(watch, () => this.#release(id, shared))
  }

  #share(id: string, at: Place): Shared {
    const known = this.#shared.get(id)
    if (known) {
      known.watchers++
      return known
    }
    const { monotonic, timer } = this.#environment
    const { holds } = this.#store.spaces.past
    const hold = (treeobj: Treeobj) => holds.holdTreeobj(treeobj)
    const appendKey = new AppendKey(at.key, this.#store.nodes, monotonic, { hold, timer })
    const follower = this.#followers.add(at.namespace, { leases: false })
    const shared: Shared = { appendKey, follower, watchers: 1 }
    this.#shared.set(id, shared)
    // It ends with an error that its watchers get, or when the last of them has gone. A later
    // watcher of the key begins anew.
    const sights = new Sights(this.#store, this.#followers, follower, at)
    appendKey.follow(sights, () => this.#forget(id, shared))
    return shared
  }

  #release(id: string, shared: Shared): void {
    if (--shared.watchers > 0) return
    this.#forget(id, shared)
    shared.appendKey.stop()
  }

  #forget(id: string, shared: Shared): void {
    if (this.#shared.get(id) === shared) this.#shared.delete(id)
  }
}

function closedError(): TailraceError {
  return new TailraceError('ECLOSED', 'the store is closed')
}

/** An append watch, and its part in what the watchers of its key share. */
class SharedAppends implements WatchSource {
  readonly #watch: AppendWatch
  readonly #release: () => void

  constructor(watch: AppendWatch, release: () => void) {
    this.#watch = watch
    this.#release = release
  }

  take(): WatchEvent | undefined {
    return this.#watch.take()
  }

  next(): Promise<WatchEvent | undefined> {
    return this.#watch.next()
  }

  rest(wake: () => void): (() => void) | undefined {
    return this.#watch.rest(wake)
  }

  release(event: WatchEvent): void {
    if (event.type === 'append') this.#watch.release(event)
  }

  [Symbol.dispose](): void {
    this.#watch[Symbol.dispose]()
    this.#release()
  }
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
