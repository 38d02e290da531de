/** Claims: one at a time computes an action. See rfc/22, rules 10 and 11.
 *  Invariant: a claim is the lease of the record's key, taken where there is no record. So nobody
 *  publishes unseen between the look and the claim. */

import type { Busy, Claim, ClaimOptions, Hit } from '../api/cache.js'
import type { Kvs } from '../api/kvs.js'
import { type Lease, type Leases, leaseTtlDefault } from '../api/lease.js'
import type { Guard, Token } from '../api/transaction.js'
import { eitherSignal } from '../base/abort.js'
import { startTimer } from '../base/timer.js'
import { isCode, TailraceError } from '../error.js'
import type { PackedAction } from './action.js'
import { find } from './hit.js'
import { namespaceOf } from './layer.js'
import { HeldClaim } from './publish.js'
import { recordKey } from './record.js'

/** The store of a cache, and who it works for. */
export type ClaimPorts = {
  readonly kvs: Kvs
  readonly leases: Leases
  /** The layer, and those above it. */
  readonly layers: readonly [string, ...string[]]
  readonly owner: string | undefined
  readonly code: string | undefined
  /** Called with each result that was found. */
  readonly onUse: (hit: Hit) => void
  /** Called after each publish. */
  readonly onPublish: () => void
}

/** The way of a claim: `but` are the tokens of results that do not count, and with `again` none
 *  does. */
export type ClaimWay = ClaimOptions & { readonly but?: readonly Token[]; readonly again?: boolean }

/** Finds the result of an action, or claims it. */
export async function claim(
  ports: ClaimPorts,
  action: PackedAction,
  way: ClaimWay,
): Promise<Hit | Claim | Busy> {
  const { timeoutMs, signal } = way
  if (timeoutMs === undefined) return await claimWithin(ports, action, way, signal)
  const late = new AbortController()
  const message = `no result and no claim of the action ${short(action)} within ${timeoutMs} ms`
  const stopTimer = startTimer(timeoutMs, () => late.abort(new TailraceError('ETIMEDOUT', message)))
  const either = eitherSignal(signal, late.signal)
  try {
    return await claimWithin(ports, action, way, either.signal)
  } finally {
    stopTimer()
    either.end()
  }
}

async function claimWithin(
  ports: ClaimPorts,
  action: PackedAction,
  way: ClaimWay,
  signal: AbortSignal | undefined,
): Promise<Hit | Claim | Busy> {
  const { wait = 'wait', tries = Number.POSITIVE_INFINITY, but = [], again = false } = way
  const { kvs, layers } = ports
  const look = { but, ...(signal && { signal }) }
  for (let met = 0; ; ) {
    const found = again ? undefined : await find(kvs, layers, action.id, look)
    if (found) {
      ports.onUse(found)
      return found
    }
    const taken = await take(ports, action, way, signal)
    if (taken === 'published') continue
    if (!('holder' in taken)) return taken
    if (wait === 'skip') return busy(ports, action, taken.holder, way.signal)
    if (wait === 'fail' || met === tries) throw taken.refused
    met++
    await ended(ports, action, signal)
  }
}

/** Takes the lease of an action. Returns `published` if there is a result by now. */
async function take(
  ports: ClaimPorts,
  action: PackedAction,
  { ttl = leaseTtlDefault, again = false }: ClaimWay,
  signal: AbortSignal | undefined,
): Promise<
  Claim | 'published' | { readonly holder: Busy['holder']; readonly refused: TailraceError }
> {
  const { leases, layers, owner } = ports
  const key = recordKey(action.id)
  const absent: Guard = { key, absent: true }
  const started = Date.now()
  let lease: Lease
  try {
    lease = await leases.take(key, {
      ...{ namespace: namespaceOf(layers[0]), ttl, exactlyOnce: true },
      ...(owner !== undefined && { owner }),
      ...(signal && { signal }),
      ...(again ? {} : { guards: [absent] }),
    })
  } catch (error) {
    if (!isCode(error, 'ECONFLICT')) throw error
    if (error.failed?.guard !== undefined) return 'published'
    const holder = holderOf(error)
    return { holder, refused: held(action, holder, error) }
  }
  return new HeldClaim(ports, action, { lease, started, again })
}

function holderOf({ failed }: TailraceError): Busy['holder'] {
  const { lease } = (failed?.state ?? {}) as { readonly lease?: Busy['holder'] | null }
  const { token, owner } = lease ?? {}
  return { ...(token && { token }), ...(owner !== undefined && { owner }) }
}

function busy(
  ports: ClaimPorts,
  action: PackedAction,
  holder: Busy['holder'],
  signal: AbortSignal | undefined,
): Busy {
  const look = signal ? { signal } : {}
  const result = ended(ports, action, signal).then(() =>
    find(ports.kvs, ports.layers, action.id, look),
  )
  result.catch(() => {}) // it need not be awaited
  return { type: 'busy', id: action.id, holder, result }
}

/** Waits until the claim of an action has ended, with a result or without one. */
async function ended(
  { kvs, layers }: ClaimPorts,
  { id }: PackedAction,
  signal: AbortSignal | undefined,
): Promise<void> {
  const watching = kvs.watch(recordKey(id), {
    ...{ mode: 'value', lease: true, waitCreate: true },
    namespace: namespaceOf(layers[0]),
    ...(signal && { signal }),
  })
  try {
    for await (const event of watching) {
      if (event.type === 'lease' && !event.held) return
    }
  } catch (error) {
    // The record was removed: the claim that was waited for had ended before that.
    if (!isCode(error, 'ENOENT')) throw error
  }
}

function held(action: PackedAction, { owner }: Busy['holder'], cause: TailraceError) {
  const who = owner === undefined ? 'somebody else' : owner
  const message = `${who} computes the action ${short(action)} now`
  const { failed } = cause
  return new TailraceError('ECONFLICT', message, { cause, ...(failed && { failed }) })
}

function short({ id }: PackedAction): string {
  return id.slice(0, 12)
}
