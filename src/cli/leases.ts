/** `tailrace lease take`, `renew`, `release`, `show`; for `run` see lease-run.ts. See rfc/9. A
 *  token is written INCARNATION:SEQ. */

import { hostname, userInfo } from 'node:os'
import type { Store } from '../api/store.js'
import type { Committed, LeaseAction, Token } from '../api/transaction.js'
import type { LeaseEvent } from '../api/watch.js'
import { defined } from '../base/shape.js'
import { isCode, TailraceError } from '../error.js'
import { textOfToken } from '../wire/token.js'
import { argument, command, flag, key, type OptionValues, option } from './command.js'
import { json, namespace, place, token } from './options.js'
import { quoted } from './quote.js'
import { type PlaceCall, withStore } from './session.js'
import { duration } from './units.js'

const ttlDefaultMs = 30_000

/** Options of commands that take a lease. */
export const taking = {
  ttl: option(
    '--ttl <time>',
    'how long it is held unless it is renewed: 500ms, 30s, 5m (default: 30s)',
    duration,
  ),
  owner: option('--owner <text>', 'who holds it, for people (default: USER@HOST pid PID)'),
}

const take = command({
  name: 'take',
  summary: 'take a lease and print its token; ECONFLICT while it is held',
  parameters: { key: argument('<key>', key) },
  options: { ...taking, wait: flag('--wait', 'wait until it is free'), namespace, json, ...place },
  examples: ['tailrace lease take deploy --ttl 1m', 'TOKEN=$(tailrace lease take deploy --wait)'],
  makesStore: true,
  run: async (call) => {
    const { args, options, stdout } = call
    const asked = { ...takingOf(options), wait: options.wait, ...scopeOf(options) }
    return withStore(call, async (store) => {
      const { committed } = await takeLease(store, args.key, asked)
      if (options.json) await stdout.json(committed)
      else await stdout.line(textOfToken(tokenOf(committed)))
    })
  },
})

const renew = command({
  name: 'renew',
  summary: 'hold a lease for its time anew, or for another; EFENCED if it is lost',
  parameters: { key: argument('<key>', key), token: argument('<token>', token) },
  options: {
    ttl: option('--ttl <time>', 'another time, from now on (default: as it was taken)', duration),
    namespace,
    json,
    ...place,
  },
  examples: ['tailrace lease renew deploy $TOKEN'],
  run: async (call) => {
    const { args, options } = call
    const action = { action: 'renew', token: args.token, ...defined({ ttl: options.ttl }) } as const
    return act(call, args.key, action)
  },
})

const release = command({
  name: 'release',
  summary: 'give a lease back; EFENCED if it is lost',
  parameters: { key: argument('<key>', key), token: argument('<token>', token) },
  options: { namespace, json, ...place },
  examples: ['tailrace lease release deploy $TOKEN'],
  run: async (call) => {
    const { key, token } = call.args
    return act(call, key, { action: 'release', token })
  },
})

const show = command({
  name: 'show',
  summary: 'show whether a lease is held: exit code 0 if it is, 1 if it is free',
  parameters: { key: argument('<key>', key) },
  options: { namespace, json, ...place },
  examples: ['tailrace lease show deploy', 'tailrace lease show deploy --json'],
  run: async (call) => {
    const { args, options, stdout } = call
    return withStore(call, async (store) => {
      const lease = await firstLease(store, args.key, scopeOf(options))
      const { held, token, owner } = lease
      if (options.json) await stdout.json(defined({ held, token, owner }))
      else await stdout.line(leaseLine(lease))
      return held ? 0 : 1
    })
  },
})

/** The commands on leases except `lease run`. */
export const leaseCommands = [take, renew, release, show]

/** Returns one line that says whether a lease is held, with which token, and by whom. */
export function leaseLine({ held, token, owner }: LeaseEvent): string {
  if (!held || !token) return 'free'
  return ['held', textOfToken(token), ...(owner === undefined ? [] : [quoted(owner)])].join(' ')
}

/** A lease that was taken. `sent` is the time when the answered take was sent, on the clock of
 *  `performance.now()`. The lease lasts at least for its ttl from then on; a wait before it does
 *  not count. */
type TakenLease = { readonly committed: Committed; readonly sent: number }

type TakeOptions = {
  readonly ttl: number
  readonly owner: string
  readonly wait: boolean
  readonly namespace?: string
}

/** Takes a lease. With `wait` it waits until the lease is free; otherwise it throws ECONFLICT where
 *  the lease is held. Returns undefined where `signal` ended the wait: the lease was then not
 *  taken. */
export async function takeLease(
  store: Store,
  key: string,
  options: TakeOptions,
): Promise<TakenLease>
export async function takeLease(
  store: Store,
  key: string,
  options: TakeOptions & { readonly signal: AbortSignal },
): Promise<TakenLease | undefined>
export async function takeLease(
  store: Store,
  key: string,
  options: TakeOptions & { readonly signal?: AbortSignal },
): Promise<TakenLease | undefined> {
  const { ttl, owner, wait, signal, ...scope } = options
  const op = { op: 'lease', key, action: 'take', ttl, owner } as const
  for (;;) {
    const sent = performance.now()
    try {
      return { committed: await store.commit({ ops: [op] }, scope), sent }
    } catch (error) {
      if (!wait || !isCode(error, 'ECONFLICT')) throw error
    }
    try {
      await untilFree(store, key, { ...scope, ...defined({ signal }) })
    } catch (error) {
      if (!signal?.aborted) throw error
    }
    if (signal?.aborted) return undefined
  }
}

/** Returns the token of an answered take. Throws EIO where the answer has none. */
export function tokenOf({ results }: Committed): Token {
  const token = results[0]?.token
  if (token) return token
  throw new TailraceError('EIO', 'the server answered a take without a token')
}

/** Returns `ttl` and `owner` of a take, with their defaults. */
export function takingOf({ ttl = ttlDefaultMs, owner }: OptionValues<typeof taking>) {
  return { ttl, owner: owner ?? `${userInfo().username}@${hostname()} pid ${process.pid}` }
}

export function scopeOf({ namespace }: { readonly namespace: string | undefined }): {
  readonly namespace?: string
} {
  return defined({ namespace })
}

async function untilFree(
  store: Store,
  key: string,
  options: { readonly namespace?: string; readonly signal?: AbortSignal },
) {
  for await (const event of watchLease(store, key, options)) {
    if (event.type === 'lease' && !event.held) return
  }
}

async function firstLease(
  store: Store,
  key: string,
  scope: { readonly namespace?: string },
): Promise<LeaseEvent> {
  for await (const event of watchLease(store, key, scope)) {
    if (event.type === 'lease') return event
  }
  throw new TailraceError('EIO', 'the watch of a lease ended without one')
}

function watchLease(
  store: Store,
  key: string,
  options: { readonly namespace?: string; readonly signal?: AbortSignal },
) {
  return store.watch(key, { mode: 'value', lease: true, waitCreate: true, ...options })
}

async function act(
  call: PlaceCall & {
    readonly options: { readonly namespace: string | undefined; readonly json: boolean }
  },
  key: string,
  action: LeaseAction,
): Promise<void> {
  const { options, stdout } = call
  return withStore(call, async (store) => {
    const ops = [{ op: 'lease', key, ...action }] as const
    const committed = await store.commit({ ops }, scopeOf(options))
    if (options.json) await stdout.json(committed)
  })
}
