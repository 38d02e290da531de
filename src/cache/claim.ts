/** Claims: one at a time computes an action. See rfc/22, rules 10 and 11.
 *  Invariant: a claim is the lease of the record's key, taken where there is no record. So nobody
 *  publishes unseen between the look and the claim. */

import type { Busy, Claim, ClaimOptions, Hit } from '../api/cache.js'
import type { Kvs } from '../api/kvs.js'
import { type Lease, leaseTtlDefault } from '../api/lease.js'
import type { TakeRefusal, Token } from '../api/transaction.js'
import { eitherSignal, joinAbort } from '../base/abort.js'
import { startTimer } from '../base/timer.js'
import { isCode, TailraceError } from '../error.js'
import type { PackedAction } from './action.js'
import type { Flights, Published } from './flights.js'
import { StoredHit } from './hit.js'
import { namespaceOf } from './layer.js'
import type { ResultLooks } from './looks.js'
import { HeldClaim } from './publish.js'
import { parseRecord, recordKey } from './record.js'
import { remove } from './remove.js'
import type { ClaimTakes, Publishes } from './together.js'

/** The store of a cache, and who it works for. */
export type ClaimPorts = {
  readonly kvs: Kvs
  readonly takes: ClaimTakes
  readonly publishes: Publishes
  readonly looks: ResultLooks
  /** The claims of the layer that are under way in this process. */
  readonly flights: Flights
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

/** The number of takes without an answer after which a claim is given up. Each has lasted for the
 *  ttl. */
const unansweredMax = 3

/** The refusal of a take: somebody else holds the claim. */
type Refusal = { readonly holder: Busy['holder']; readonly refused: TailraceError }

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
  let looks = way.look !== false && !again
  const { layers, flights } = ports
  // One claim may ask the store for others that would ask the same.
  const shares = wait === 'wait' && way.tries === undefined && !again
  const signalled = signal ? { signal } : {}
  const look = { but, ...signalled }
  let unanswered = 0
  for (let met = 0; ; ) {
    const looked = looks ? await ports.looks.find(layers, action.id, look) : undefined
    looks = !again
    if (looked?.hit) return used(ports, looked.hit)
    // A take has the guard that there is no record.
    if (looked?.isDamaged) await remove(ports, action, { ...signalled, only: 'damaged' })
    const other = shares ? flights.get(action.id) : undefined
    if (other) {
      const published = await joinAbort(other.landed, signal)
      // One that was long on its way is older than the look, and may have been removed before it.
      const isNewer = looked && published && published.seq > looked.seq
      if (isNewer) return used(ports, hitOf(ports, action, published))
      continue
    }
    const isLast = wait === 'fail' || met === tries
    let got: Awaited<ReturnType<typeof ask>>
    try {
      got = await ask(ports, action, { ...way, isLast }, signal)
    } catch (error) {
      if (!isCode(error, 'EUNKNOWN') || ++unanswered === unansweredMax) throw error
      // There is a result by now, or a lease that nobody knows of, which ends by itself.
      continue
    }
    if (got === 'ended') met++
    else if (got !== 'published') {
      return 'record' in got ? used(ports, hitOf(ports, action, got)) : got
    }
  }
}

/** Takes the claim of an action, or waits for the end of the one that somebody else has. Returns the
 *  result if that brought one, `ended` if it did not, and `published` if there was one before. */
async function ask(
  ports: ClaimPorts,
  action: PackedAction,
  way: ClaimWay & { readonly isLast: boolean },
  signal: AbortSignal | undefined,
): Promise<Claim | Busy | Published | 'published' | 'ended'> {
  const { wait, isLast, again = false } = way
  const flight = ports.flights.begin(action.id)
  const started = Date.now()
  const taking = take(ports, action, way)
  try {
    const taken = await joinAbort(taking, signal)
    if (isLease(taken))
      return new HeldClaim(ports, action, { lease: taken, started, again, flight })
    if (taken !== 'published' && wait !== 'skip') {
      if (isLast) throw taken.refused
      const published = await ended(ports, action, { again, signal })
      flight.land(published)
      return published ?? 'ended'
    }
    flight.land()
    return taken === 'published' ? taken : busy(ports, action, taken.holder, way.signal)
  } catch (error) {
    // A lease that comes when its taker has gone is given back, before others ask for it.
    void taking.then(giveBack, nothing).then(() => flight.land())
    throw error
  }
}

/** Takes the lease of an action. Returns `published` if there is a result by now. */
async function take(
  { takes }: ClaimPorts,
  action: PackedAction,
  { ttl = leaseTtlDefault, again = false }: ClaimWay,
): Promise<Lease | 'published' | Refusal> {
  const taken = await takes.take(recordKey(action.id), ttl, again)
  if (!(taken instanceof TailraceError)) return taken
  const { lease } = (taken.failed?.state ?? {}) as TakeRefusal
  if (!lease) return 'published'
  const { token, owner } = lease
  const holder = { token, ...(owner !== undefined && { owner }) }
  return { holder, refused: held(action, holder, taken) }
}

function isLease(taken: Lease | 'published' | Refusal): taken is Lease {
  return typeof taken === 'object' && 'release' in taken
}

async function giveBack(taken: Lease | 'published' | Refusal): Promise<void> {
  if (isLease(taken)) await taken.release()
}

function nothing(): void {}

function busy(
  ports: ClaimPorts,
  action: PackedAction,
  holder: Busy['holder'],
  signal: AbortSignal | undefined,
): Busy {
  const result = resultOf(ports, action, signal)
  result.catch(() => {}) // it need not be awaited
  return { type: 'busy', id: action.id, holder, result }
}

/** Returns the result that the present claim of an action ends with; undefined if it has none. */
async function resultOf(
  ports: ClaimPorts,
  action: PackedAction,
  signal: AbortSignal | undefined,
): Promise<Hit | undefined> {
  const published = await ended(ports, action, { again: false, signal })
  if (published) return hitOf(ports, action, published)
  const { looks, layers } = ports
  return (await looks.find(layers, action.id, signal ? { signal } : {})).hit
}

/** Waits until the claim of an action has ended. Returns the result that comes with its end, unless
 *  `again`; undefined if there is none, or if it has to be looked for. */
async function ended(
  { kvs, layers }: ClaimPorts,
  { id }: PackedAction,
  { again, signal }: { readonly again: boolean; readonly signal: AbortSignal | undefined },
): Promise<Published | undefined> {
  const watching = kvs.watch(recordKey(id), {
    ...{ mode: 'value', lease: true, waitCreate: true },
    namespace: namespaceOf(layers[0]),
    ...(signal && { signal }),
  })
  try {
    for await (const event of watching) {
      // A lease that ends where the record is written ends behind it (rfc/9, rule 11).
      if (event.type === 'value' && event.data && !again) {
        return { record: parseRecord(event.data, id), seq: event.seq }
      }
      if (event.type === 'lease' && !event.held) return undefined
    }
  } catch (error) {
    // The record was removed: the claim that was waited for had ended before that.
    if (!isCode(error, 'ENOENT')) throw error
  }
  return undefined
}

function hitOf(
  { kvs, layers }: ClaimPorts,
  { id }: PackedAction,
  { record, seq }: Published,
): StoredHit {
  return new StoredHit(kvs, { id, layer: layers[0], seq }, record)
}

/** Returns a hit, and counts it as a use. */
function used(ports: ClaimPorts, hit: Hit): Hit {
  ports.onUse(hit)
  return hit
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
