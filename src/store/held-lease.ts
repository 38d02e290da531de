/** Leases that are held and renewed, and how they end. See rfc/9, rules 5, 6 and 19. Runs in browsers.
 *  Invariant: the signal of a lease aborts at most `ttl` after the last answered take or renewal
 *  was sent. So the holder learns of the loss before anybody else can hold the lease, as long as
 *  its event loop runs. If the event loop stood still, the guard fences the holder, and the signal
 *  aborts at most `stallGraceMs` after it goes on. */

import type { Kvs } from '../api/kvs.js'
import type { FinishOptions, Lease } from '../api/lease.js'
import type { Committed, Guard, Op, Token, Transaction } from '../api/transaction.js'
import { eitherSignal } from '../base/abort.js'
import { invalid } from '../base/shape.js'
import { startTimer } from '../base/timer.js'
import { canceled, isCode, TailraceError, toTailraceError } from '../error.js'
import { checkTransaction } from './op-shapes.js'
import type { Renew, Renewal, TakenLease } from './renewal.js'

/** The last part of the ttl, before which a lease is renewed where the event loop turns. */
const lookShare = 1 / 3
/** The lateness of a timer, in ms, that says that the event loop, or the process, stood still. */
const stallMs = 250
/** The time, in ms, that a lease has after the event loop stood still to be renewed before it counts
 *  as lost. */
const stallGraceMs = 2_000

/** The reason of each lease that was released: to make an error with its stack for each takes longer than
 *  to release it. */
const released = new TailraceError('ECLOSED', 'the lease was released')

/** A lease that is held. */
export class HeldLease implements Lease {
  readonly key: string
  readonly namespace: string
  readonly token: Token
  readonly guard: Guard
  readonly kvs: Kvs
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
    { kvs, renew }: { readonly kvs: Kvs; readonly renew: Renew },
    taken: TakenLease,
    onHeld: ((ms: number) => void) | undefined,
  ) {
    this.kvs = kvs
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
        else this.lose(error)
      },
    })
    this.#holdUntil(taken.sent + taken.ttl)
  }

  get signal(): AbortSignal {
    return this.#ended.signal
  }

  finish(transaction: Transaction, options: FinishOptions = {}): Promise<Committed> {
    return finishAll([this], transaction, options)
  }

  /** Lets no renewal end the lease until `endFinish`: one behind the transaction that releases it is
   *  refused. */
  beginFinish(): void {
    this.#finishing = true
  }

  /** Ends the lease if the transaction that releases it is done. */
  async endFinish(isDone: boolean): Promise<void> {
    const refused = this.#refused
    this.#finishing = false
    this.#refused = undefined
    if (isDone) await this.#end(released)
    else if (refused) this.lose(refused)
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
    await this.#end(released)
    if (lost) return
    const op = { op: 'lease', key: this.key, action: 'release', token: this.token } as const
    // If the release fails, the lease ends by itself.
    await this.kvs.commit({ ops: [op] }, { namespace: this.namespace }).catch(() => {})
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
      this.lose(new TailraceError('ETIMEDOUT', 'it was not renewed in its time'))
    }
  }

  /** Ends a lease that is not held any more. */
  lose(cause: unknown): void {
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

/** Commits a transaction that is guarded by leases of one namespace, and releases them. Throws as
 *  `Leases.finishAll` does. */
export async function finishAll(
  given: readonly Lease[],
  transaction: Transaction,
  options: FinishOptions,
): Promise<Committed> {
  checkTransaction(transaction)
  const leases = given.map(heldLeaseOf)
  const [first] = leases
  if (!first) throw invalid('leases must be at least one')
  if (leases.some(({ namespace, kvs }) => namespace !== first.namespace || kvs !== first.kvs)) {
    throw invalid('leases must be of one namespace, taken by one store')
  }
  const before = leases.findIndex(({ signal }) => signal.aborted)
  if (before >= 0) throw fencedAt(leases, before)
  const { guards = [], ops } = transaction
  const ending: Transaction = {
    ...transaction,
    guards: [...leases.map(({ guard }) => guard), ...guards],
    ops: [...ops, ...leases.map(releaseOf)],
  }
  const either = eitherSignal(options.signal, ...leases.map(({ signal }) => signal))
  const scope = { ...options, namespace: first.namespace, signal: either.signal }
  for (const lease of leases) lease.beginFinish()
  let isDone = false
  try {
    const { results, ...committed } = await first.kvs.commit(ending, scope)
    isDone = true
    return { ...committed, results: results.slice(0, ops.length) }
  } catch (error) {
    const lost = leases.find(({ signal }) => signal.aborted)
    const at = isCode(error, 'ECONFLICT') ? (error.failed?.guard ?? leases.length) : leases.length
    leases[at]?.lose(error)
    if (at < leases.length) throw fencedAt(leases, at, error)
    if (lost && !options.signal?.aborted) throw unanswered(lost.key, error)
    throw withoutFirstGuards(error, leases.length)
  } finally {
    either.end()
    await Promise.all(leases.map((lease) => lease.endFinish(isDone)))
  }
}

function heldLeaseOf(lease: Lease): HeldLease {
  if (lease instanceof HeldLease) return lease
  throw invalid('a lease must be one that was taken by this store')
}

function releaseOf({ key, token }: Lease): Op {
  return { op: 'lease', key, action: 'release', token }
}

/** Returns the EFENCED of a lease that is not held any more; of several, it says which one. */
function fencedAt(leases: readonly HeldLease[], at: number, cause?: unknown): TailraceError {
  const reason = canceled(leases[at]?.signal ?? { reason: cause })
  if (leases.length === 1) return reason
  return new TailraceError(reason.code, reason.message, {
    ...{ cause: cause ?? reason },
    failed: { guard: at },
  })
}

/** Returns an error whose `failed` counts the guards of the caller, behind those of the leases. */
function withoutFirstGuards(error: unknown, count: number): unknown {
  if (!(error instanceof TailraceError) || error.failed?.guard === undefined) return error
  const failed = { ...error.failed, guard: error.failed.guard - count }
  return new TailraceError(error.code, error.message, { cause: error, failed })
}

function unanswered(key: string, cause: unknown): TailraceError {
  const message = `the lease of ${key} ended before its last write was answered: look whether it was done`
  return new TailraceError('EUNKNOWN', message, { cause })
}
