/** Tells watchers that some root moved, and that the engine was closed. See rfc/4.
 *  Invariant: a move after `watch` was called is never lost; many may be one wake. */

import { Wakeup } from '../base/wakeup.js'
import { closedError } from './refusals.js'

export class Moves {
  readonly #wakeup = new Wakeup()
  readonly #closing = new AbortController()

  moved(): void {
    this.#wakeup.wake()
  }

  get closed(): boolean {
    return this.#closing.signal.aborted
  }

  /** Ends every watch with ECLOSED. Idempotent. */
  close(): void {
    this.#closing.abort(closedError())
  }

  /** Throws ECLOSED. */
  assertOpen(): void {
    if (this.closed) throw closedError()
  }

  /** See `Engine.watch`. Moves count from this call on, not from the first `next`. */
  watch(signal: AbortSignal): AsyncIterable<void> {
    this.assertOpen()
    return this.#wakes(this.#wakeup.count, signal)
  }

  async *#wakes(from: number, signal: AbortSignal): AsyncGenerator<void> {
    const either = AbortSignal.any([signal, this.#closing.signal])
    for (let seen = from; ; ) {
      try {
        await this.#wakeup.wait(seen, either)
      } catch (error) {
        if (signal.aborted) return
        throw error
      }
      seen = this.#wakeup.count // before the yield: what moves while the caller looks wakes again
      yield
    }
  }
}
