/** Leases that renew themselves, over any `Kvs`. See rfc/9, rules 5 and 6. Runs in browsers.
 *  Invariant: the signal of a lease aborts at most `ttl` after the last answered take or renewal
 *  was sent. So the holder learns of the loss before anybody else can hold the lease, as long as
 *  its event loop runs. If the event loop stood still, the guard fences the holder. */

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
import { pause, startTimer } from '../base/timer.js'
import { canceled, isCode, TailraceError, toTailraceError } from '../error.js'
import { checkGuards, checkTransaction } from './op-shapes.js'

/** The part of the ttl after which a lease is renewed. */
const renewShare = 1 / 3
/** The part of the ttl after which a failed renewal is tried again. */
const retryShare = 1 / 10

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

/** Makes the leases of a store. */
export function leasesOf(kvs: Kvs): Leases {
  return {
    take: async (key, options = {}) => {
      checkValue('a key', key, text)
      checkOptions(options, takes)
      return take(kvs, key, options)
    },
    show: async (key, options = {}) => {
      checkValue('a key', key, text)
      checkOptions(options, scopes)
      return stateOf(await firstLease(kvs, key, options))
    },
  }
}

async function take(kvs: Kvs, key: string, options: TakeLeaseOptions): Promise<Lease> {
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
  const op: Op = { op: 'lease', key, action: 'take', ttl, ...(owner !== undefined && { owner }) }
  for (;;) {
    const sent = performance.now()
    try {
      const { results } = exactlyOnce
        ? await withinMs(ttl, signal, (either) =>
            kvs.commit({ guards, ops: [op] }, { namespace, signal: either, exactlyOnce }),
          )
        : await kvs.commit({ guards, ops: [op] }, scope)
      const token = results[0]?.token
      if (!token) throw new TailraceError('EIO', 'a take was answered without a token')
      return new HeldLease(kvs, { key, namespace, token, ttl, sent, ...(onHeld && { onHeld }) })
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

type Taken = {
  readonly key: string
  readonly namespace: string
  readonly token: Token
  readonly ttl: number
  /** The time at which the take was sent, by `performance.now()`. */
  readonly sent: number
  readonly onHeld?: (ms: number) => void
}

class HeldLease implements Lease {
  readonly key: string
  readonly namespace: string
  readonly token: Token
  readonly guard: Guard
  readonly #kvs: Kvs
  readonly #taken: Taken
  readonly #ended = new AbortController()
  /** The time until which the lease is certainly held, by `performance.now()`. */
  #until: number
  #stopDeadline: () => void = () => {}
  readonly #kept: Promise<void>
  #released: Promise<void> | undefined
  /** True while a transaction is on its way that releases the lease. A renewal behind it is refused. */
  #finishing = false
  /** The refusal of a renewal that came while `#finishing`. */
  #refused: TailraceError | undefined

  constructor(kvs: Kvs, taken: Taken) {
    this.#kvs = kvs
    this.#taken = taken
    this.key = taken.key
    this.namespace = taken.namespace
    this.token = taken.token
    this.guard = { lease: taken.key, token: taken.token }
    this.#until = taken.sent + taken.ttl
    this.#arm()
    this.#kept = this.#keep()
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
      this.#end(released(this.key))
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
    this.#end(released(this.key))
    await this.#kept
    if (lost) return
    const op = { op: 'lease', key: this.key, action: 'release', token: this.token } as const
    // If the release fails, the lease ends by itself.
    await this.#kvs.commit({ ops: [op] }, { namespace: this.namespace }).catch(() => {})
  }

  /** Renews until the lease is lost or released. Never throws. */
  async #keep(): Promise<void> {
    const { ttl, sent } = this.#taken
    let next = sent + ttl * renewShare
    while (!this.signal.aborted) {
      await pause(Math.max(0, next - performance.now()), this.signal).catch(() => {})
      if (this.signal.aborted) return
      next = await this.#renew(performance.now())
    }
  }

  /** Renews the lease, and returns the time of the next renewal. `asked`: the present time. Never
   *  throws. */
  async #renew(asked: number): Promise<number> {
    const { ttl } = this.#taken
    const op = { op: 'lease', key: this.key, action: 'renew', token: this.token } as const
    const late = new AbortController()
    const stopTimer = startTimer(Math.max(1, this.#until - asked), () => late.abort())
    const either = eitherSignal(this.signal, late.signal)
    try {
      const scope = { namespace: this.namespace, signal: either.signal }
      await this.#kvs.commit({ ops: [op] }, scope)
      if (this.signal.aborted) return asked
      this.#until = asked + ttl
      this.#arm()
      return asked + ttl * renewShare
    } catch (error) {
      if (isCode(error, 'EFENCED') || isCode(error, 'ENONS')) {
        if (this.#finishing) this.#refused = error
        else this.#lose(error)
      }
      return performance.now() + ttl * retryShare
    } finally {
      stopTimer()
      either.end()
    }
  }

  /** Sets the timer at which the lease is lost if it is not renewed before. */
  #arm(): void {
    this.#stopDeadline()
    const left = Math.max(0, this.#until - performance.now())
    this.#taken.onHeld?.(left)
    this.#stopDeadline = startTimer(left, () =>
      this.#lose(new TailraceError('ETIMEDOUT', 'it was not renewed in its time')),
    )
  }

  #lose(cause: unknown): void {
    const { message } = toTailraceError(cause)
    this.#end(
      new TailraceError('EFENCED', `the lease of ${this.key} was lost: ${message}`, { cause }),
    )
  }

  #end(reason: TailraceError): void {
    this.#stopDeadline()
    this.#ended.abort(reason)
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
