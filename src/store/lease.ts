/** The calls on leases, over any `Kvs`. See rfc/9, rules 5, 6 and 19. Runs in browsers.
 *  Invariant: a take that waits asks again when the lease is free, and only then. */

import type { Kvs } from '../api/kvs.js'
import {
  type FinishOptions,
  type Lease,
  type LeaseState,
  type Leases,
  leasesAtOnceMax,
  leaseTtlDefault,
  type TakeEachOptions,
  type TakeLeaseOptions,
} from '../api/lease.js'
import { primary } from '../api/namespace.js'
import type { Op, Scope, TakeRefusal } from '../api/transaction.js'
import type { LeaseEvent } from '../api/watch.js'
import { eitherSignal } from '../base/abort.js'
import { randomId } from '../base/random-id.js'
import {
  callback,
  checkOptions,
  checkValue,
  count,
  flag,
  invalid,
  list,
  shapeOf,
  signal,
  text,
} from '../base/shape.js'
import { startTimer } from '../base/timer.js'
import { isCode, TailraceError } from '../error.js'
import { finishAll, HeldLease } from './held-lease.js'
import { checkGuards } from './op-shapes.js'
import type { Renew } from './renewal.js'

const taken = { namespace: text, signal, ttl: count, owner: text }
const takes = shapeOf<TakeLeaseOptions>({
  ...taken,
  wait: flag,
  guards: list,
  exactlyOnce: flag,
  onHeld: callback,
})
const takesEach = shapeOf<TakeEachOptions>({ ...taken, exactlyOnce: flag, ifAbsent: flag })
const finishes = shapeOf<FinishOptions>({
  ...{ signal, noMerge: flag, transfer: flag, idempotencyKey: text, idempotencySince: count },
  ...{ exactlyOnce: flag, resend: flag, trace: text },
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
    takeEach: async (keys, options = {}) => {
      checkMany('keys', keys)
      for (const key of keys) checkValue('a key', key, text)
      checkOptions(options, takesEach)
      const { ifAbsent = false } = options
      const ways = { optional: true, ...(ifAbsent && { ifAbsent }) }
      return keys.length === 0 ? [] : takeOnce({ kvs, renew, takeId }, keys, options, ways)
    },
    finishAll: async (leases, transaction, options = {}) => {
      checkMany('leases', leases)
      checkOptions(options, finishes)
      return finishAll(leases, transaction, options)
    },
    show: async (key, options = {}) => {
      checkValue('a key', key, text)
      checkOptions(options, scopes)
      return stateOf(await firstLease(kvs, key, options))
    },
  }
}

function checkMany(what: string, many: readonly unknown[]): void {
  if (Array.isArray(many) && many.length <= leasesAtOnceMax) return
  throw invalid(`${what} must be an array of at most ${leasesAtOnceMax}`)
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
  const { wait = false, namespace = primary, signal } = options
  checkGuards(options.guards ?? [])
  for (;;) {
    try {
      const [lease] = await takeOnce(ports, [key], options)
      if (!lease || lease instanceof TailraceError) throw lease ?? new Error('a key has a lease')
      return lease
    } catch (error) {
      const isHeld = isCode(error, 'ECONFLICT') && error.failed?.guard === undefined
      if (!wait || !isHeld) throw error
    }
    await untilFree(kvs, key, { namespace, ...(signal && { signal }) })
  }
}

/** Takes the leases of keys in one transaction. `ways`: more fields of each take. */
async function takeOnce(
  ports: LeasePorts,
  keys: readonly string[],
  options: TakeLeaseOptions,
  ways: { readonly optional?: boolean; readonly ifAbsent?: boolean } = {},
): Promise<readonly (Lease | TailraceError)[]> {
  const { kvs } = ports
  const { ttl = leaseTtlDefault, owner, exactlyOnce = false, guards = [], onHeld } = options
  const { namespace = primary, signal } = options
  const ops = keys.map((key): Op => {
    // A name of its own for each take: the lease knows one that is sent again by it.
    const texts = {
      ...(owner !== undefined && { owner }),
      ...(exactlyOnce && { takeId: ports.takeId() }),
    }
    return { op: 'lease', key, action: 'take', ttl, ...texts, ...ways }
  })
  const sent = performance.now()
  const { results } = exactlyOnce
    ? await withinMs(ttl, signal, (either) =>
        kvs.commit({ guards, ops }, { namespace, signal: either, exactlyOnce }),
      )
    : await kvs.commit({ guards, ops }, { namespace, ...(signal && { signal }) })
  return keys.map((key, at) => {
    const { token, refused } = results[at] ?? {}
    if (refused) return refusal(key, refused)
    if (!token) throw new TailraceError('EIO', 'a take was answered without a token')
    return new HeldLease(ports, { key, namespace, token, ttl, sent }, onHeld)
  })
}

function refusal(key: string, refused: TakeRefusal): TailraceError {
  const why = refused.lease ? 'is held' : 'was not taken: the key is there'
  const message = `the lease of ${key} ${why}`
  return new TailraceError('ECONFLICT', message, { failed: { state: refused } })
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
