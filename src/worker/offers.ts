/** Offers of workers that have joined a store, and the keys by which schedulers reach them. See rfc/25,
 *  rules 20 and 21.
 *  Invariant: an offer stands in the store while its worker holds the lease of that key; what a worker
 *  left that died is removed by whoever finds it. */

import { randomBytes } from 'node:crypto'
import type { RemoteWorkerView } from '../api/flow.js'
import { type Kvs, pageMax } from '../api/kvs.js'
import type { Store } from '../api/store.js'
import type { Token } from '../api/transaction.js'
import {
  count,
  list,
  number,
  object,
  type Rule,
  shapeOf,
  text,
  texts,
  within,
} from '../base/shape.js'
import { pack, unpack } from '../cache/packing.js'
import { unless } from '../error.js'

/** The namespace of workers that have joined a store. */
export const workersNamespace = 'workers-main'
/** The log in which a worker tells each time that it is free. */
export const joinedKey = 'joined'
/** The number of last entries of that log that are kept. */
export const joinedMax = 1_000
/** The version of what a worker and a scheduler send each other: others do not take part. */
export const linkVersion = 1
/** The time after which a worker, or a scheduler, that is silent counts as dead, in ms. */
export const lifeTtlDefault = 8_000
/** The settings of the namespace: nobody reads an older root of it for long. */
const settings = { historyCount: 1, historyAgeMs: 60_000, historySize: 64 * 1024 * 1024 }
/** The directory of offers. */
const offersDirectory = 'offers'
/** The number of workers whose leases are looked at at the same time. */
const looksMax = 32

/** An offer, as it stands in the store. */
export type Offer = {
  readonly version: number
  readonly id: string
  /** The token of the lease that the worker holds. */
  readonly token: Token
  readonly slots: number
  readonly labels: readonly string[]
  readonly modules: readonly string[]
  readonly host: string
  readonly pid: number
  /** The time when it joined, ms since 1970. */
  readonly since: number
  /** The number of calls that it has answered. */
  readonly answered: number
  /** The number of calls that it still takes; absent: any. */
  readonly callsLeft?: number
  /** A hash of all that its targets are made of, as the worker has loaded it. */
  readonly code: string
}

const token = within(shapeOf<Token>({ incarnation: text, seq: count }, ['incarnation', 'seq']))
const offerRule: Rule = within(
  shapeOf<Offer>(
    {
      ...{ version: count, id: text, token, slots: count, labels: texts, modules: list },
      ...{ host: text, pid: count, since: number, answered: count, callsLeft: count, code: text },
    },
    [
      'version',
      'id',
      'token',
      'slots',
      'labels',
      'modules',
      'host',
      'pid',
      'since',
      'answered',
      'code',
    ],
  ),
)

/** The keys of one session: a scheduler and a worker. */
export type SessionKeys = {
  readonly directory: string
  /** The log of what the scheduler sends. */
  readonly calls: string
  /** The log of what the worker sends. */
  readonly answers: string
}

/** Returns the key of a worker's offer, whose lease it holds while it lives. */
export function offerKey(id: string): string {
  return `${offersDirectory}/${id}`
}

/** Returns the key whose lease the scheduler holds that has taken a worker. */
export function sessionKey(id: string): string {
  return `sessions/${id}`
}

/** Returns the directory of all that the sessions of a worker have stored. */
export function linksKey(id: string): string {
  return `links/${id}`
}

/** Returns the keys of the session that a token of a session's lease names. */
export function sessionKeys(id: string, { seq }: Token): SessionKeys {
  const directory = `${linksKey(id)}/${seq}`
  return { directory, calls: `${directory}/calls`, answers: `${directory}/answers` }
}

/** Returns a new id of a worker: ids sort by their times. */
export function newWorkerId(now = Date.now()): string {
  const random = randomBytes(4).readUInt32BE() % 32 ** 6
  return `w${now.toString(32).padStart(9, '0')}${random.toString(32).padStart(6, '0')}`
}

export function packOffer(offer: Offer): Uint8Array {
  return pack(offer, 'an offer')
}

/** Makes the namespace of workers if it is not there. */
export async function makeNamespace(kvs: Kvs): Promise<void> {
  const made = await kvs.namespaces.create(workersNamespace).catch(unless('EEXIST'))
  if (made) await kvs.namespaces.configure(workersNamespace, settings)
}

/** Reads the offer of a worker; undefined if there is none that this version understands. */
export async function readOffer(kvs: Kvs, id: string): Promise<Offer | undefined> {
  const bytes = await kvs.get(offerKey(id), { namespace: workersNamespace })
  return bytes && offerOf(bytes)
}

function offerOf(bytes: Uint8Array): Offer | undefined {
  const found = unpack(bytes, 'an offer')
  if (!object.is(found) || (found as Partial<Offer>).version !== linkVersion) return undefined
  return offerRule.is(found) ? (found as Offer) : undefined
}

/** An offer, and whether somebody holds its leases. */
export type OfferState = {
  readonly offer: Offer
  /** False for a worker that has died. */
  readonly isAlive: boolean
  /** The scheduler that has taken it. */
  readonly takenBy: string | undefined
}

/** Lists the offers that are there, in the order in which the workers joined. */
export async function listOffers(
  store: Store,
  signal?: AbortSignal,
): Promise<readonly OfferState[]> {
  const scope = { namespace: workersNamespace, ...(signal && { signal }) }
  const page = await store
    .list(offersDirectory, { ...scope, limit: pageMax })
    .catch(unless('ENOENT'))
    .catch(unless('ENONS'))
  const names = page?.entries.map(({ name }) => name) ?? []
  const states: OfferState[] = []
  for (let at = 0; at < names.length; at += looksMax) {
    const some = names.slice(at, at + looksMax)
    states.push(...(await Promise.all(some.map((id) => stateOf(store, id, signal)))).flat())
  }
  return states
}

async function stateOf(
  store: Store,
  id: string,
  signal: AbortSignal | undefined,
): Promise<readonly OfferState[]> {
  const scope = { namespace: workersNamespace, ...(signal && { signal }) }
  const offer = await readOffer(store, id)
  if (!offer) return []
  const [life, session] = await Promise.all([
    store.leases.show(offerKey(id), scope),
    store.leases.show(sessionKey(id), scope),
  ])
  return [{ offer, isAlive: life.held, takenBy: session.held ? (session.owner ?? '') : undefined }]
}

/** Tells the workers that have joined a store, in the order in which they joined. */
export async function workersOf(
  store: Store,
  options: { readonly signal?: AbortSignal } = {},
): Promise<readonly RemoteWorkerView[]> {
  const states = await listOffers(store, options.signal)
  return states.map(({ offer, isAlive, takenBy }) => {
    const { id, host, pid, slots, labels, modules, since, answered } = offer
    const state = !isAlive ? 'gone' : takenBy === undefined ? 'free' : 'busy'
    const by = takenBy === undefined ? {} : { takenBy }
    return { id, state, host, pid, slots, labels, modules, since, answered, ...by }
  })
}

/** Removes what a worker left that has died. Does nothing for one that lives. Never throws: what stays is
 *  found by the next who looks. */
export async function sweep(store: Store, id: string): Promise<void> {
  const namespace = workersNamespace
  try {
    const lease = await store.leases.take(offerKey(id), { namespace, ttl: lifeTtlDefault })
    await lease.finish({
      ops: [
        { op: 'unlink', key: offerKey(id) },
        { op: 'unlink', key: linksKey(id), recursive: true },
      ],
    })
  } catch {
    // It lives, or somebody else removes it.
  }
}
