/** Leases that renew themselves, over any `Kvs`. See rfc/9, rules 5, 6 and 19. Runs in browsers.
 *  Invariant: the signal of a lease aborts at most `ttl` after the last answered take or renewal
 *  was sent. So the holder learns of the loss before anybody else can hold the lease, as long as
 *  its event loop runs. If the event loop stood still, the guard fences the holder, and the signal
 *  aborts at most `stallGraceMs` after it goes on. */

import type { Kvs } from '../api/kvs.js'
import {
  type FinishOptions,
  type Lease,
  type LeaseState,
  type Leases,
  leaseTtlDefault,
  type TakeLeaseOptions,
} from '../api/lease.js'
import { primary } from '../api/namespace.js'
import type { Committed, Guard, Op, Scope, Token, Transaction } from '../api/transaction.js'
import type { LeaseEvent } from '../api/watch.js'
import { eitherSignal } from '../base/abort.js'
import { randomId } from '../base/random-id.js'
import {
  callback,
  checkOptions,
  checkValue,
  count,
  flag,
  list,
  shapeOf,
  signal,
  text,
} from '../base/shape.js'
import { startTimer } from '../base/timer.js'
import { canceled, isCode, TailraceError, toTailraceError } from '../error.js'
import { checkGuards, checkTransaction } from './op-shapes.js'
import type { Renew, Renewal, TakenLease } from './renewal.js'

/** The last part of the ttl, before which a lease is renewed where the event loop turns. */
const lookShare = 1 / 3
/** The lateness of a timer, in ms, that says that the event loop, or the process, stood still. */
const stallMs = 250
/** The time, in ms, that a lease has after the event loop stood still to be renewed before it counts
 *  as lost. */
const stallGraceMs = 2_000

const takes = shapeOf<TakeLeaseOptions>({
  namespace: text,
  signal,
  ttl: count,
  owner: text,
  wait: flag,
  guards: list,
  exactlyOnce: flag,
  onHeld: callback,
})
const scopes = shapeOf<Scope>({ namespace: text, signal })

/** Makes the leases of a store, which `renew` renews. */
export function leasesOf(kvs: Kvs, renew: Renew): Leases {
  // One random number for all: to draw one for each take took a tenth of its time.
  let prefix: string | undefined
  let takesNamed = 0
  const takeId = () => {
    prefix ??= randomId()
    return `${prefix}-${takesNamed++}`
  }
  return {
    take: async (key, options = {}) => {
      checkValue('a key', key, text)
      checkOptions(options, takes)
      return take({ kvs, renew, takeId }, key, options)
    },
    show: async (key, options = {}) => {
      checkValue('a key', key, text)
      checkOptions(options, scopes)
      return stateOf(await firstLease(kvs, key, options))
    },
  }
}

/** The store of a lease, what renews it, and what names its take. */
type LeasePorts = {
  readonly kvs: Kvs
  readonly renew: Renew
  /** Returns a name that no other take has. */
  readonly takeId: () => string
}

async function take(ports: LeasePorts, key: string, options: TakeLeaseOptions): Promise<Lease> {
  const { kvs } = ports
  const {
    ttl = leaseTtlDefault,
    owner,
    wait = false,
    guards = [],
    exactlyOnce = false,
    namespace = primary,
    signal,
    onHeld,
  } = options
  checkGuards(guards)
  const scope = { namespace, ...(signal && { signal }) }
  for (;;) {
    // A name of its own for each take: the lease knows one that is sent again by it.
    const texts = {
      ...(owner !== undefined && { owner }),
      ...(exactlyOnce && { takeId: ports.takeId() }),
    }
    const op: Op = { op: 'lease', key, action: 'take', ttl, ...texts }
    const sent = performance.now()
    try {
      const { results } = exactlyOnce
        ? await withinMs(ttl, signal, (either) =>
            kvs.commit({ guards, ops: [op] }, { namespace, signal: either, exactlyOnce }),
          )
        : await kvs.commit({ guards, ops: [op] }, scope)
      const token = results[0]?.token
      if (!token) throw new TailraceError('EIO', 'a take was answered without a token')
      return new HeldLease(ports, { key, namespace, token, ttl, sent }, onHeld)
    } catch (error) {
      const isHeld = isCode(error, 'ECONFLICT') && error.failed?.guard === undefined
      if (!wait || !isHeld) throw error
    }
    await untilFree(kvs, key, scope)
  }
}

/** Calls `run` with a signal that aborts with `signal`, or with EUNKNOWN after `ms`. */
async function withinMs<T>(
  ms: number,
  signal: AbortSignal | undefined,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController()
  const reason = `a write was not answered within ${ms} ms`
  const stopTimer = startTimer(ms, () => late.abort(new TailraceError('EUNKNOWN', reason)))
  const either = eitherSignal(signal, late.signal)
  try {
    return await run(either.signal)
  } finally {
    stopTimer()
    either.end()
  }
}

class HeldLease implements Lease {
  readonly key: string
  readonly namespace: string
  readonly token: Token
  readonly guard: Guard
  readonly #kvs: Kvs
  readonly #ttl: number
  readonly #onHeld: ((ms: number) => void) | undefined
  readonly #ended = new AbortController()
  readonly #renewal: Renewal
  #stopTimer: () => void = () => {}
  /** The grace for an event loop that stood still: `due` once it did, `used` once it was given. A
   *  renewal ends it. */
  #grace: 'none' | 'due' | 'used' = 'none'
  #released: Promise<void> | undefined
  /** True while a transaction is on its way that releases the lease. A renewal behind it is refused. */
  #finishing = false
  /** The refusal of a renewal that came while `#finishing`. */
  #refused: TailraceError | undefined

  constructor(
    { kvs, renew }: LeasePorts,
    taken: TakenLease,
    onHeld: ((ms: number) => void) | undefined,
  ) {
    this.#kvs = kvs
    this.#ttl = taken.ttl
    this.#onHeld = onHeld
    this.key = taken.key
    this.namespace = taken.namespace
    this.token = taken.token
    this.guard = { lease: taken.key, token: taken.token }
    this.#renewal = renew(taken, {
      renewed: (until) => this.#holdUntil(until),
      lost: (error) => {
        if (this.#finishing) this.#refused = error
        else this.#lose(error)
      },
    })
    this.#holdUntil(taken.sent + taken.ttl)
  }

  get signal(): AbortSignal {
    return this.#ended.signal
  }

  async finish(transaction: Transaction, options: FinishOptions = {}): Promise<Committed> {
    checkTransaction(transaction)
    if (this.signal.aborted) throw canceled(this.signal)
    const { guards = [], ops } = transaction
    const release: Op = { op: 'lease', key: this.key, action: 'release', token: this.token }
    const ending = { ...transaction, guards: [this.guard, ...guards], ops: [...ops, release] }
    const either = eitherSignal(options.signal, this.signal)
    const scope = { ...options, namespace: this.namespace, signal: either.signal }
    this.#finishing = true
    try {
      const { results, ...committed } = await this.#kvs.commit(ending, scope)
      await this.#end(released(this.key))
      return { ...committed, results: results.slice(0, -1) }
    } catch (error) {
      const isFenced = isCode(error, 'ECONFLICT') && error.failed?.guard === 0
      const refused = isFenced ? error : this.#refused
      const isLost = this.signal.aborted
      if (refused) this.#lose(refused)
      if (isFenced) throw canceled(this.signal)
      if (isLost && !options.signal?.aborted) throw unanswered(this.key, error)
      throw withoutFirstGuard(error)
    } finally {
      this.#finishing = false
      this.#refused = undefined
      either.end()
    }
  }

  release(): Promise<void> {
    this.#released ??= this.#release()
    return this.#released
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release()
  }

  async #release(): Promise<void> {
    const lost = this.signal.aborted
    await this.#end(released(this.key))
    if (lost) return
    const op = { op: 'lease', key: this.key, action: 'release', token: this.token } as const
    // If the release fails, the lease ends by itself.
    await this.#kvs.commit({ ops: [op] }, { namespace: this.namespace }).catch(() => {})
  }

  /** Takes the lease to be held until then, and tells so. */
  #holdUntil(until: number): void {
    if (this.signal.aborted) return
    this.#grace = 'none'
    this.#arm(until)
    this.#onHeld?.(Math.max(0, until - performance.now()))
  }

  /** Sets the timers of a lease that is held until then: one that is late if the event loop stands
   *  still, and the end. */
  #arm(until: number): void {
    const look = until - this.#ttl * lookShare
    this.#setTimer(look, () => {
      if (this.#grace === 'none' && performance.now() - look > stallMs) this.#grace = 'due'
      this.#setTimer(until, () => this.#judge())
    })
  }

  #setTimer(at: number, run: () => void): void {
    this.#stopTimer()
    this.#stopTimer = startTimer(Math.max(0, at - performance.now()), run)
  }

  /** Judges the lease when its time is over. */
  #judge(): void {
    const now = performance.now()
    const until = this.#renewal.until()
    if (until > now) {
      this.#arm(until) // it was renewed while this event loop stood still
    } else if (this.#grace === 'due') {
      // The store knows whether the lease is held: the renewal that is due asks.
      this.#grace = 'used'
      this.#setTimer(now + stallGraceMs, () => this.#judge())
    } else {
      this.#lose(new TailraceError('ETIMEDOUT', 'it was not renewed in its time'))
    }
  }

  #lose(cause: unknown): void {
    const { message } = toTailraceError(cause)
    const reason = `the lease of ${this.key} was lost: ${message}`
    void this.#end(new TailraceError('EFENCED', reason, { cause })) // never throws
  }

  /** Ends the renewals. Resolves once none is on its way here. */
  #end(reason: TailraceError): Promise<void> {
    this.#stopTimer()
    this.#ended.abort(reason)
    return this.#renewal.end()
  }
}

function released(key: string): TailraceError {
  return new TailraceError('ECLOSED', `the lease of ${key} was released`)
}

/** Returns an error whose `failed` counts the guards of the caller, behind the one of the lease. */
function withoutFirstGuard(error: unknown): unknown {
  if (!(error instanceof TailraceError) || error.failed?.guard === undefined) return error
  const failed = { ...error.failed, guard: error.failed.guard - 1 }
  return new TailraceError(error.code, error.message, { cause: error, failed })
}

function unanswered(key: string, cause: unknown): TailraceError {
  const message = `the lease of ${key} ended before its last write was answered: look whether it was done`
  return new TailraceError('EUNKNOWN', message, { cause })
}

async function untilFree(kvs: Kvs, key: string, scope: Scope): Promise<void> {
  for await (const event of watchLease(kvs, key, scope)) {
    if (event.type === 'lease' && !event.held) return
  }
}

async function firstLease(kvs: Kvs, key: string, scope: Scope): Promise<LeaseEvent> {
  for await (const event of watchLease(kvs, key, scope)) {
    if (event.type === 'lease') return event
  }
  throw new TailraceError('EIO', 'the watch of a lease ended without one')
}

function watchLease(kvs: Kvs, key: string, scope: Scope) {
  return kvs.watch(key, { mode: 'value', lease: true, waitCreate: true, ...scope })
}

function stateOf({ held, token, owner }: LeaseEvent): LeaseState {
  return { held, ...(token && { token }), ...(owner !== undefined && { owner }) }
}
