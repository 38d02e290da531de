/** Renewals of leases: in the event loop of the caller, or elsewhere by the same contract. See rfc/9,
 *  rules 6 and 19. Runs in browsers.
 *  Invariant: a renewal never says that a lease is held for longer than its `ttl` from when the
 *  take or the last answered renewal was sent. */

import type { Kvs } from '../api/kvs.js'
import type { Token } from '../api/transaction.js'
import { quietEnd } from '../base/abort.js'
import { startTimer } from '../base/timer.js'
import { isCode, type TailraceError } from '../error.js'

/** The part of the ttl after which a lease is renewed. */
const renewShare = 1 / 3
/** The part of a ttl of `longTtl` or more: half of it still leaves seconds for other tries. */
const longRenewShare = 1 / 2
/** The least ttl of which `longRenewShare` is the part, in ms. */
const longTtl = 10_000
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

/** Returns the time after which a lease of a ttl is renewed, both in ms. */
export function renewalDelay(ttl: number): number {
  return ttl * (ttl < longTtl ? renewShare : longRenewShare)
}

/** Returns what renews leases in this event loop. */
export function renewInLoop(kvs: Kvs): Renew {
  return (taken, told) => {
    const renewal = new LoopRenewal(kvs, taken, told)
    return { until: () => renewal.until, end: () => renewal.end() }
  }
}

/** One renewal. It has no more than a timer until a renewal is due: most leases are released before. */
class LoopRenewal {
  readonly #kvs: Kvs
  readonly #taken: TakenLease
  readonly #told: Told
  #until: number
  #stopTimer: () => void = () => {}
  /** The renewal that is on its way, and what ends it. */
  #asking: { readonly ended: AbortController; readonly done: Promise<void> } | undefined
  #isEnded = false

  constructor(kvs: Kvs, taken: TakenLease, told: Told) {
    this.#kvs = kvs
    this.#taken = taken
    this.#told = told
    this.#until = taken.sent + taken.ttl
    this.#renewAt(taken.sent + renewalDelay(taken.ttl))
  }

  get until(): number {
    return this.#until
  }

  async end(): Promise<void> {
    this.#isEnded = true
    this.#stopTimer()
    this.#asking?.ended.abort(quietEnd)
    await this.#asking?.done
  }

  #renewAt(time: number): void {
    const renew = () => {
      const ended = new AbortController()
      this.#asking = { ended, done: this.#renew(performance.now(), ended.signal) }
    }
    const ms = Math.max(0, time - performance.now())
    // A program that holds a lease goes on until it has given it back.
    this.#stopTimer = startTimer(ms, renew, { keepsAlive: true })
  }

  /** Renews the lease, and sets the time of the next renewal. `asked`: the present time. Never throws. */
  async #renew(asked: number, signal: AbortSignal): Promise<void> {
    const { key, namespace, token, ttl } = this.#taken
    try {
      const op = { op: 'lease', key, action: 'renew', token } as const
      await this.#kvs.commit({ ops: [op] }, { namespace, signal })
      if (this.#isEnded) return
      this.#until = asked + ttl
      this.#told.renewed(this.#until)
      this.#renewAt(asked + renewalDelay(ttl))
    } catch (error) {
      if (this.#isEnded) return
      if (isCode(error, 'EFENCED') || isCode(error, 'ENONS')) {
        this.#isEnded = true
        this.#told.lost(error)
      } else this.#renewAt(performance.now() + ttl * retryShare)
    }
  }
}
