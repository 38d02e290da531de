/** Commits that are this process's own to make: sent again until they are applied, once. See rfc/11.
 *  Invariant: a commit guarded by the count of a key that only we append to is applied at most once,
 *  however often it is sent. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Kvs } from '../api/kvs.js'
import type { Op } from '../api/transaction.js'
import type { Environment } from '../base/environment.js'
import { type Code, isCode, TailraceError } from '../error.js'
import { jobsNamespace } from './keys.js'

/** How long a job waits for a store that has no room, before it is given up. */
export const storeRetryMsDefault = 120_000
/** Pause before the first repetition; doubled up to the last. */
export const retryFirstMs = 20
export const retryLastMs = 2_000

/** What may pass: space is made, the disk comes back, the outcome is found out. */
const passing: ReadonlySet<Code> = new Set([
  'ENOSPC',
  'EDQUOT',
  'EBUSY',
  'EIO',
  'EUNKNOWN',
  'ETIMEDOUT',
])

export type SureCommit = {
  readonly ops: readonly Op[]
  /** An append key that the ops append to and nobody else does, and its count before. */
  readonly key: string
  readonly count: number
}

export class Surely {
  readonly #kvs: Kvs
  readonly #environment: Environment
  readonly #retryMs: number
  readonly #signal: AbortSignal

  /** `signal` ends the waiting, not a commit that is on its way. */
  constructor(kvs: Kvs, environment: Environment, retryMs: number, signal: AbortSignal) {
    this.#kvs = kvs
    this.#environment = environment
    this.#retryMs = retryMs
    this.#signal = signal
  }

  /** One attempt. Throws what `Kvs.commit` throws. */
  async once({ ops, key, count }: SureCommit): Promise<void> {
    await this.#kvs.commit(
      { guards: [{ key, count }], ops },
      { namespace: jobsNamespace, transfer: true },
    )
  }

  /** Durable when it resolves. Throws the last error once `retryMs` are over, or one that will not
   *  pass. */
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
      // An earlier attempt whose answer was lost may have been applied: nobody else appends here.
      const stat = await this.#kvs.stat(commit.key, { namespace: jobsNamespace })
      if (!stat || stat.count <= commit.count) throw error
    }
  }
}
