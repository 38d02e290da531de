/** The state of the connection, as this client sees it: online after an answer or a frame, offline
 *  after a lost connection.
 *  Invariant: a reader of changes holds no queue. It is woken, and reads the state of that
 *  moment. */

import type { ConnectionState } from '../api/connect.js'
import { Wakeup } from '../base/wakeup.js'
import { isCode } from '../error.js'

export class Reachability implements ConnectionState {
  readonly #now: () => number
  readonly #changed = new Wakeup()
  #state: { readonly online: boolean; readonly since: number }
  #ended = false

  /** Starts online: a client that was opened has reached its server, or was given its `storeId`.
   *  `now` is the wall clock, in ms since 1970. */
  constructor(now: () => number) {
    this.#now = now
    this.#state = { online: true, since: now() }
  }

  get online(): boolean {
    return this.#state.online
  }

  get since(): number {
    return this.#state.since
  }

  /** Records that the server was reached, or that a connection was lost. */
  set(online: boolean): void {
    if (online === this.#state.online || this.#ended) return
    this.#state = { online, since: this.#now() }
    this.#changed.wake()
  }

  /** Ends all readers of changes. */
  end(): void {
    this.#ended = true
    this.#changed.wake()
  }

  async *changes(signal?: AbortSignal) {
    let told: { readonly online: boolean; readonly since: number } | undefined
    while (!this.#ended && !signal?.aborted) {
      const seen = this.#changed.count
      if (this.#state !== told) {
        told = this.#state
        yield told
        continue
      }
      try {
        await this.#changed.wait(seen, signal)
      } catch (error) {
        if (!isCode(error, 'ECANCELED') && !signal?.aborted) throw error
      }
    }
  }
}
