/** The workers that have joined a store, as a scheduler sees them: which are free, and how one is taken. See
 *  rfc/25, rules 20 and 21.
 *  Invariant: a worker that becomes free is heard of, since the log in which it tells so is watched from
 *  before the offers are listed. One that turns out to be taken is free no more, until it tells so. */

import { hostname } from 'node:os'
import type { RemoteWorkersOptions } from '../api/flow.js'
import type { WatchEvent } from '../api/watch.js'
import { type Deferred, deferred } from '../base/deferred.js'
import { isCode, unless } from '../error.js'
import {
  joinedKey,
  lifeTtlDefault,
  listOffers,
  makeNamespace,
  type Offer,
  offerKey,
  readOffer,
  sessionKey,
  sweep,
  workersNamespace,
} from './offers.js'
import type { TakenWorker } from './remote-link.js'

/** The ports of the workers that have joined. */
export type JoinedPorts = {
  /** Hears that there may be more that are free, or fewer. */
  readonly changed: () => void
  /** Hears why nobody is heard of any more. */
  readonly failed: (error: unknown) => void
}

/** The workers. Mutable; owned by a pool. */
export class JoinedWorkers {
  readonly #options: RemoteWorkersOptions
  readonly #ports: JoinedPorts
  readonly #free = new Map<string, Offer>()
  /** Workers that were refused, with the code that they had. */
  readonly #refused = new Set<string>()
  readonly #opened: Deferred<void> = deferred()
  readonly #ended = new AbortController()
  readonly #watching: Promise<void>

  constructor(options: RemoteWorkersOptions, ports: JoinedPorts) {
    this.#options = options
    this.#ports = ports
    this.#watching = this.#watch()
  }

  /** Resolves once the offers that were there at first are known, or cannot be known. */
  get opened(): Promise<void> {
    return this.#opened.promise
  }

  /** The workers that are free, as far as is known. */
  get free(): readonly Offer[] {
    return [...this.#free.values()]
  }

  /** Takes a worker. Returns undefined if it is not free any more. Throws what `Leases.take` throws. */
  async take(offer: Offer): Promise<TakenWorker | undefined> {
    const { store, ttlMs = lifeTtlDefault } = this.#options
    this.#free.delete(offer.id)
    try {
      const lease = await store.leases.take(sessionKey(offer.id), {
        ...{ namespace: workersNamespace, ttl: ttlMs, exactlyOnce: true },
        owner: `${hostname()} pid ${process.pid}`.slice(0, 200),
        guards: [{ lease: offerKey(offer.id), token: offer.token }],
        signal: this.#ended.signal,
      })
      return { store, offer, lease }
    } catch (error) {
      if (!isCode(error, 'ECONFLICT')) throw error
      // The guard failed since the worker has died: its offer is removed.
      if (error.failed?.guard !== undefined) void sweep(store, offer.id) // it never rejects
      return undefined
    }
  }

  /** Does not count a worker as free any more, unless it has other code. */
  refuse({ id, code }: Offer): void {
    this.#refused.add(`${id} ${code}`)
  }

  async close(): Promise<void> {
    this.#ended.abort()
    this.#free.clear()
    await this.#watching
  }

  /** Never throws. */
  async #watch(): Promise<void> {
    try {
      const { store } = this.#options
      await makeNamespace(store)
      for (;;) {
        try {
          await this.#follow()
          return
        } catch (error) {
          // So many were free meanwhile that the log has lost some: all are listed again.
          if (!isCode(error, 'ECOMPACTED') && !isCode(error, 'EOVERWRITTEN')) throw error
        }
      }
    } catch (error) {
      if (!this.#ended.signal.aborted) this.#ports.failed(error)
    } finally {
      this.#opened.resolve()
    }
  }

  /** Lists the offers, and then hears of each that is free. */
  async #follow(): Promise<void> {
    const { store } = this.#options
    const { signal } = this.#ended
    const scope = { namespace: workersNamespace, signal }
    const from = (await store.stat(joinedKey, scope).catch(unless('ENONS')))?.count ?? 0
    for (const { offer, isAlive, takenBy } of await listOffers(store, signal)) {
      if (!isAlive)
        void sweep(store, offer.id) // it never rejects
      else if (takenBy === undefined) this.#add(offer)
    }
    this.#opened.resolve()
    this.#ports.changed()
    const watching = store.watch(joinedKey, { mode: 'append', waitCreate: true, from, ...scope })
    for await (const event of watching) await this.#hear(event)
  }

  async #hear(event: WatchEvent): Promise<void> {
    if (event.type !== 'append') return
    const offer = await readOffer(this.#options.store, Buffer.from(event.data).toString())
    if (!offer || !this.#add(offer)) return
    this.#ports.changed()
  }

  /** Returns false for an offer that is none for this scheduler. */
  #add(offer: Offer): boolean {
    const { label } = this.#options
    const fits = label === undefined || offer.labels.includes(label)
    if (!fits || this.#refused.has(`${offer.id} ${offer.code}`)) return false
    this.#free.set(offer.id, offer)
    return true
  }
}
