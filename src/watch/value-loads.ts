/** Loads values for value watchers. See rfc/7, rule 23.
 *  Invariant: watchers that ask for a value at the same time share one load of it. A load ends when
 *  the last watcher that waits for it has gone. */

import { joinAbort, LightSignal, type Signal } from '../base/abort.js'
import type { Blobref } from '../blob/blobref.js'
import type { Val, Valref } from '../treeobj/treeobj.js'
import type { WatchedStore } from './sights.js'

type Load = {
  readonly bytes: Promise<Uint8Array>
  readonly end: LightSignal
  waiting: number
}

/** The loads of all value watchers of a store. */
export class ValueLoads {
  readonly #store: WatchedStore
  readonly #loads = new Map<Blobref, Load>()

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

  #begin(ref: Blobref, treeobj: Valref): Load {
    const end = new LightSignal()
    const bytes = this.#store.reader.bytes(treeobj, end)
    const load = { bytes, end, waiting: 0 }
    this.#loads.set(ref, load)
    return load
  }
}
