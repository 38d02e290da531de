/** The watch service. It hears of each root that moves and wakes the watchers that the root
 *  concerns; each watcher then reads what it has not seen. See rfc/7, rules 5 to 8 and 15.
 *  Invariant: a slow watcher costs its position only. When the last watcher of a key has gone, the
 *  service keeps nothing of that key. */

import type { Kvs } from '../api/kvs.js'
import { primary } from '../api/namespace.js'
import type { From, WatchEvent, Watching, WatchOptions } from '../api/watch.js'
import { LightSignal, onAbort } from '../base/abort.js'
import type { Environment } from '../base/environment.js'
import { LoopSlice } from '../base/loop-slice.js'
import { parseBlobref } from '../blob/blobref.js'
import type { Content } from '../content/content.js'
import type { Root } from '../engine/engine.js'
import { canceled, isCode, TailraceError } from '../error.js'
import type { LiveNamespace, StoreListener } from '../past/namespace.js'
import type { Rights } from '../tree/rights.js'
import { type Key, parseKey, parseNamespaceName } from '../treeobj/key.js'
import type { Treeobj } from '../treeobj/treeobj.js'
import { AppendKey } from './append-key.js'
import { AppendWatch, type AppendWatchPorts } from './append-watch.js'
import { type ChangesStart, ChangesWatch } from './changes-watch.js'
import { DirFollowers } from './dir-followers.js'
import { type Follower, Followers } from './followers.js'
import type { WatchReader } from './reader.js'
import { RecentEvents } from './recent-events.js'
import { Sights, type WatchedStore } from './sights.js'
import { ValueLoads } from './value-loads.js'
import { watchValue } from './value-watch.js'

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

/** The events of a reader; disposed of at its end. */
type Source = Pick<WatchReader, 'take' | 'next' | 'release'> &
  Disposable & {
    /** See `AppendWatch.rest`. */
    readonly rest: (wake: () => void) => (() => void) | undefined
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
  readonly #watching = new Set<Reader>()
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
    return iterate(eventsOf(reader, signal), reader)
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
    return new Reader(this.#watching, (own) => {
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
    return new Reader(this.#watching, (own) => {
      if (this.#closed) throw closedError()
      return this.#openChanges(at, { since, initial }, own)
    })
  }

  #openChanges({ namespace, key }: Place, start: ChangesStart, own: LightSignal): Source {
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
  ): Source {
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
  ): Promise<Source> {
    // Those whose rights differ do not share: a link may be open to one and closed to another.
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

/** Begins a watch: finds what its events come from. Throws what ends a watch. */
type Open = (own: LightSignal) => Source | Promise<Source>

/** One watch. Mutable; owned by the one who asks for its events. */
class Reader implements WatchReader {
  readonly #own = new LightSignal()
  readonly #watching: Set<Reader>
  /** Undefined once it was called. */
  #open: Open | undefined
  #source: Source | undefined
  /** True while `next` is under way. It then lets go of the source in the end. */
  #asked = false
  /** True once the caller was told that the watch has ended. */
  #told = false
  /** The caller's function, while the watch rests, and what takes the rest back. */
  #resting: { readonly wake: () => void; readonly end: () => void } | undefined

  constructor(watching: Set<Reader>, open: Open) {
    this.#watching = watching
    this.#open = open
  }

  take(): WatchEvent | undefined {
    return this.#own.aborted ? undefined : this.#source?.take()
  }

  async next(): Promise<WatchEvent | undefined> {
    if (this.#told) return undefined
    this.#asked = true
    try {
      if (!this.#source && !this.#own.aborted) {
        const opened = this.#begin()
        // No await may come between a source that is there at once and its first `next`.
        this.#source = opened instanceof Promise ? await opened : opened
      }
      const event = this.#own.aborted ? undefined : await this.#source?.next()
      // An event that was on its way when the end came is still given.
      if (!event && this.#own.aborted) throw canceled(this.#own)
      this.#told = event === undefined
      return event
    } catch (error) {
      this.#told = true
      throw error
    } finally {
      this.#asked = false
      if (this.#told || this.#own.aborted) this.#leave()
    }
  }

  rest(wake: () => void): boolean {
    if (this.#resting) return true
    if (this.#own.aborted) return false
    const end = this.#source?.rest(this.#wake)
    if (end) this.#resting = { wake, end }
    return end !== undefined
  }

  release(event: WatchEvent): void {
    this.#source?.release(event)
  }

  end(reason?: TailraceError): void {
    this.#own.abort(reason)
    this.#resting?.end()
    if (!this.#asked) this.#leave()
    this.#wake()
  }

  readonly #wake = () => {
    const resting = this.#resting
    this.#resting = undefined
    resting?.wake()
  }

  #begin(): Source | Promise<Source> | undefined {
    const open = this.#open
    this.#open = undefined
    this.#watching.add(this)
    return open?.(this.#own)
  }

  #leave(): void {
    this.#own.abort()
    this.#watching.delete(this)
    this.#source?.[Symbol.dispose]()
    this.#source = undefined
  }
}

/** An append watch, and its part in what the watchers of its key share. */
class SharedAppends implements Source {
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

/** Yields the events of a watch until it ends, and ends it when the consumer leaves. */
async function* eventsOf(
  reader: WatchReader,
  signal: AbortSignal | undefined,
): AsyncGenerator<WatchEvent, void, undefined> {
  const abort = () => reader.end(signal && canceled(signal))
  const endAbort = onAbort(signal, abort)
  if (signal?.aborted) abort()
  const slice = new LoopSlice()
  try {
    for (;;) {
      const event = reader.take() ?? (await reader.next())
      if (!event) return
      // Events that are in memory come without a turn of the event loop.
      if (slice.over) await slice.turn()
      yield event
    }
  } finally {
    endAbort()
    reader.end()
  }
}

/** Makes the iterator of a watch. Leaving its loop, or `return()` at any time, also ends a `next()`
 *  that still waits. */
function iterate(
  events: AsyncGenerator<WatchEvent, void, undefined>,
  reader: WatchReader,
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
      reader.end()
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
