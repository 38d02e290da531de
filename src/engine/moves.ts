/** Tells watchers that some root moved, and that the engine was closed. See rfc/4.
 *  Invariant: a move after `watch` was called is never lost; many may be one wake. */

import { eitherSignal } from '../base/on-abort.js'
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
    const either = eitherSignal(signal, this.#closing.signal)
    try {
      for (let seen = from; ; ) {
        await this.#wakeup.wait(seen, either.signal)
        seen = this.#wakeup.count // before the yield: what moves while the caller looks wakes again
        yield
      }
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      either.end()
    }
  }
}
