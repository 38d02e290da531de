/** Wakes the watchers of an engine when a root moves, and ends them when the engine is closed. See
 *  rfc/4, rule 9.
 *  Invariant: no move after the call of `watch` is lost; several moves may be one wake. */

import { eitherSignal } from '../base/abort.js'
import { Wakeup } from '../base/wakeup.js'
import { closedError } from './refusals.js'

/** The moves of all roots of an engine. */
export class Moves {
  readonly #wakeup = new Wakeup()
  readonly #closing = new AbortController()

  /** Wakes all watchers. */
  moved(): void {
    this.#wakeup.wake()
  }

  /** Ends every watch with ECLOSED. Idempotent. */
  close(): void {
    this.#closing.abort(closedError())
  }

  /** Throws ECLOSED if the engine is closed. */
  assertOpen(): void {
    if (this.#closing.signal.aborted) throw closedError()
  }

  /** Implements `Engine.watch`. Moves count from this call on, not from the first `next`. */
  watch(signal: AbortSignal): AsyncIterable<void> {
    this.assertOpen()
    return this.#wakes(this.#wakeup.count, signal)
  }

  async *#wakes(from: number, signal: AbortSignal): AsyncGenerator<void> {
    const either = eitherSignal(signal, this.#closing.signal)
    try {
      for (let seen = from; ; ) {
        await this.#wakeup.wait(seen, either.signal)
        // Before the yield, so that a move while the caller looks wakes it again.
        seen = this.#wakeup.count
        yield
      }
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      either.end()
    }
  }
}
