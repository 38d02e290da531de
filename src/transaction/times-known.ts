/** When the logs of a namespace were marked with a time, as far as that is remembered. See rfc/6.
 *  Invariant: it only ever puts a mark off; bounded, the one that was set longest ago goes first. */

import type { Key } from '../tree/key.js'

/** Logs of a namespace that are remembered, so that an append to one of them need not look. */
export const timesKnownMax = 16_384

/** When a log was marked last, or seen to begin: until `timeMarkMs` later it needs no look. Owned by its
 *  namespace's commit loop. What a transaction that failed leaves here only puts a mark off. */
export class TimesKnown {
  readonly #times = new Map<Key, number>()

  get(key: Key): number | undefined {
    return this.#times.get(key)
  }

  set(key: Key, time: number): void {
    this.#times.delete(key)
    this.#times.set(key, time)
    if (this.#times.size <= timesKnownMax) return
    const oldest = this.#times.keys().next()
    if (!oldest.done) this.#times.delete(oldest.value)
  }
}
