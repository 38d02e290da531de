/** Renewals of leases: in the event loop of the caller, or elsewhere by the same contract. See rfc/9,
 *  rules 6 and 19. Runs in browsers.
 *  Invariant: a renewal never says that a lease is held for longer than its `ttl` from when the
 *  take or the last answered renewal was sent. */

import type { Kvs } from '../api/kvs.js'
import type { Token } from '../api/transaction.js'
import { quietEnd } from '../base/abort.js'
import { pause } from '../base/timer.js'
import { isCode, type TailraceError } from '../error.js'

/** The part of the ttl after which a lease is renewed. */
const renewShare = 1 / 3
/** The part of the ttl after which a failed renewal is tried again. */
const retryShare = 1 / 10

/** A lease that was taken. */
export type TakenLease = {
  readonly key: string
  readonly namespace: string
  readonly token: Token
  readonly ttl: number
  /** The time at which the take was sent, by `performance.now()`. */
  readonly sent: number
}

/** The calls by which a renewal tells what became of the lease. */
export type Told = {
  /** Called after each renewal. `until`: the time until which the lease is certainly held, by
   *  `performance.now()`. */
  readonly renewed: (until: number) => void
  /** Called once if the lease is not held any more. */
  readonly lost: (error: TailraceError) => void
}

/** The renewal of one lease, until it is ended. */
export type Renewal = {
  /** Returns the time until which the lease is certainly held, by `performance.now()`. It may be
   *  later than was told, where the event loop stood still. */
  readonly until: () => number
  /** Ends it. Resolves once no renewal is awaited here any more. */
  readonly end: () => Promise<void>
}

/** Renews a lease. Never throws. */
export type Renew = (taken: TakenLease, told: Told) => Renewal

/** Returns what renews leases in this event loop. */
export function renewInLoop(kvs: Kvs): Renew {
  return (taken, told) => {
    const renewal = new LoopRenewal(kvs, taken, told)
    return { until: () => renewal.until, end: () => renewal.end() }
  }
}

class LoopRenewal {
  readonly #kvs: Kvs
  readonly #taken: TakenLease
  readonly #told: Told
  readonly #ended = new AbortController()
  readonly #kept: Promise<void>
  #until: number

  constructor(kvs: Kvs, taken: TakenLease, told: Told) {
    this.#kvs = kvs
    this.#taken = taken
    this.#told = told
    this.#until = taken.sent + taken.ttl
    this.#kept = this.#keep()
  }

  get until(): number {
    return this.#until
  }

  end(): Promise<void> {
    this.#ended.abort(quietEnd)
    return this.#kept
  }

  async #keep(): Promise<void> {
    const { signal } = this.#ended
    let next = this.#taken.sent + this.#taken.ttl * renewShare
    while (!signal.aborted) {
      await pause(Math.max(0, next - performance.now()), signal).catch(() => {})
      if (!signal.aborted) next = await this.#renew(performance.now())
    }
  }

  /** Renews the lease, and returns the time of the next renewal. `asked`: the present time. */
  async #renew(asked: number): Promise<number> {
    const { key, namespace, token, ttl } = this.#taken
    const { signal } = this.#ended
    try {
      const op = { op: 'lease', key, action: 'renew', token } as const
      await this.#kvs.commit({ ops: [op] }, { namespace, signal })
      if (signal.aborted) return asked
      this.#until = asked + ttl
      this.#told.renewed(this.#until)
      return asked + ttl * renewShare
    } catch (error) {
      if (!signal.aborted && (isCode(error, 'EFENCED') || isCode(error, 'ENONS'))) {
        this.#ended.abort(quietEnd)
        this.#told.lost(error)
      }
      return performance.now() + ttl * retryShare
    }
  }
}
