/** Loads values for value watchers. See rfc/7, rule 23.
 *  Invariant: watchers that ask for a value at the same time share one load of it, and one event. A
 *  load ends when the last watcher that waits for it has gone, and an event is not held here. */

import type { ValueEvent } from '../api/watch.js'
import { joinAbort, LightSignal, type Signal } from '../base/abort.js'
import type { Blobref } from '../blob/blobref.js'
import type { Val, Valref } from '../treeobj/treeobj.js'
import type { WatchedStore } from './sights.js'

/** The largest number of events that are remembered. */
const eventsMax = 256

type Load = {
  readonly bytes: Promise<Uint8Array>
  readonly end: LightSignal
  waiting: number
}

/** The loads of all value watchers of a store. */
export class ValueLoads {
  readonly #store: WatchedStore
  readonly #loads = new Map<Blobref, Load>()
  /** The newest events, by seq and ref, the oldest first. */
  readonly #events = new Map<string, WeakRef<ValueEvent>>()

  constructor(store: WatchedStore) {
    this.#store = store
  }

  /** Resolves with the bytes of a value. `ref` is the ref of the treeobj. Throws what
   *  `Reader.bytes` throws, and ECANCELED. */
  async bytes(ref: Blobref, treeobj: Val | Valref, signal: Signal): Promise<Uint8Array> {
    if (treeobj.type === 'val') return treeobj.data
    const load = this.#loads.get(ref) ?? this.#begin(ref, treeobj)
    load.waiting++
    try {
      return await joinAbort(load.bytes, signal)
    } finally {
      if (--load.waiting === 0) {
        if (this.#loads.get(ref) === load) this.#loads.delete(ref)
        load.end.abort()
      }
    }
  }

  /** Returns the event that another watcher made of the same value at the same seq, or `event` if
   *  there is none: one who sends it to many encodes it once. */
  share(event: ValueEvent): ValueEvent {
    const id = `${event.seq} ${event.ref}`
    const known = this.#events.get(id)?.deref()
    if (known) return known
    this.#events.delete(id)
    this.#events.set(id, new WeakRef(event))
    if (this.#events.size > eventsMax) {
      const [oldest = ''] = this.#events.keys()
      this.#events.delete(oldest)
    }
    return event
  }

  #begin(ref: Blobref, treeobj: Valref): Load {
    const end = new LightSignal()
    const bytes = this.#store.reader.bytes(treeobj, end)
    const load = { bytes, end, waiting: 0 }
    this.#loads.set(ref, load)
    return load
  }
}
