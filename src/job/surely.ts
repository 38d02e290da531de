/** Sends the commits of the runner again until they are applied. See rfc/11, rule 12.
 *  Invariant: a commit is applied at most once, however often it is sent. It is guarded by the
 *  count of a log to which only this runner appends. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Kvs } from '../api/kvs.js'
import { jobsNamespace } from '../api/namespace.js'
import type { Op } from '../api/transaction.js'
import type { Environment } from '../base/environment.js'
import { type Code, isCode, TailraceError } from '../error.js'

/** The time that a job waits for a store that fails, in ms. Then the store is given up. */
export const storeRetryMsDefault = 120_000
/** The pause before the second try, in ms. It is doubled for each further try. */
const retryFirstMs = 20
/** The longest pause between two tries, in ms. */
const retryLastMs = 2_000

/** The errors that may pass: space is made, the disk comes back, the outcome is found out. */
const passing: ReadonlySet<Code> = new Set([
  'ENOSPC',
  'EDQUOT',
  'EBUSY',
  'EIO',
  'EUNKNOWN',
  'ETIMEDOUT',
])

type SureCommit = {
  readonly ops: readonly Op[]
  /** A log that the ops append to, and nobody else does. */
  readonly key: string
  /** The count of the log before. */
  readonly count: number
}

export class Surely {
  readonly #kvs: Kvs
  readonly #environment: Environment
  readonly #retryMs: number
  readonly #signal: AbortSignal

  /** Takes a signal that ends the pauses, but not a commit that was sent. */
  constructor(kvs: Kvs, environment: Environment, retryMs: number, signal: AbortSignal) {
    this.#kvs = kvs
    this.#environment = environment
    this.#retryMs = retryMs
    this.#signal = signal
  }

  /** Sends a commit once. Throws what `Kvs.commit` throws. */
  async once({ ops, key, count }: SureCommit): Promise<void> {
    await this.#kvs.commit(
      { guards: [{ key, count }], ops },
      { namespace: jobsNamespace, transfer: true },
    )
  }

  /** Sends a commit until it is applied. It is durable when this resolves. Throws an error that
   *  does not pass, and the last one once `retryMs` are over. */
  async commit(commit: SureCommit): Promise<void> {
    const until = this.#environment.monotonic() + this.#retryMs
    for (let pause = retryFirstMs; ; pause = Math.min(pause * 2, retryLastMs)) {
      try {
        return await this.#attempt(commit)
      } catch (error) {
        const passes = error instanceof TailraceError && passing.has(error.code)
        if (!passes || this.#environment.monotonic() + pause > until) throw error
        await sleep(pause, undefined, { signal: this.#signal }).catch(() => {
          throw error
        })
      }
    }
  }

  async #attempt(commit: SureCommit): Promise<void> {
    try {
      await this.once(commit)
    } catch (error) {
      if (!isCode(error, 'ECONFLICT')) throw error
      // If the log has grown, an earlier attempt was applied and its answer was lost.
      const stat = await this.#kvs.stat(commit.key, { namespace: jobsNamespace })
      if (!stat || stat.count <= commit.count) throw error
    }
  }
}
