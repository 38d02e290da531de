/** `tailrace lease take`, `renew`, `release`, `show`. See rfc/9. A token is written INCARNATION:SEQ. */

import { hostname, userInfo } from 'node:os'
import type { Store } from '../api/store.js'
import type { Committed, LeaseAction, Token } from '../api/transaction.js'
import type { LeaseEvent } from '../api/watch.js'
import { isCode, TailraceError } from '../error.js'
import { textOfToken, tokenOfText } from '../wire/token.js'
import { parseDuration } from './duration.js'
import { argument, defined, type Invocation, UsageError } from './invocation.js'
import { quoted } from './quote.js'
import { withStore } from './session.js'

const ttlDefault = '30s'

export async function take(invocation: Invocation): Promise<undefined> {
  const key = argument(invocation, 0)
  const asked = { ttl: ttlOf(invocation), owner: ownerOf(invocation) }
  const wait = invocation.options.flag('wait')
  return withStore(invocation, async (store) => {
    const { committed } = await takeLease(store, key, { ...asked, wait, ...scopeOf(invocation) })
    if (invocation.options.flag('json')) await invocation.stdout.json(committed)
    else await invocation.stdout.line(textOfToken(tokenOf(committed)))
    return undefined
  })
}

export async function renew(invocation: Invocation): Promise<undefined> {
  const ttl = invocation.options.text('ttl')
  const changed = ttl === undefined ? {} : { ttl: parseDuration('--ttl', ttl) }
  return commit(invocation, { action: 'renew', token: tokenArgument(invocation), ...changed })
}

export async function release(invocation: Invocation): Promise<undefined> {
  return commit(invocation, { action: 'release', token: tokenArgument(invocation) })
}

export async function show(invocation: Invocation): Promise<number> {
  const key = argument(invocation, 0)
  return withStore(invocation, async (store) => {
    const lease = await firstLease(store, key, scopeOf(invocation))
    const { held, token, owner } = lease
    if (invocation.options.flag('json')) {
      await invocation.stdout.json(defined({ held, token, owner }))
    } else await invocation.stdout.line(leaseLine(lease))
    return held ? 0 : 1
  })
}

/** What is known of a lease, on one line. */
export function leaseLine({ held, token, owner }: LeaseEvent): string {
  if (!held || !token) return 'free'
  return ['held', textOfToken(token), ...(owner === undefined ? [] : [quoted(owner)])].join(' ')
}

/** `sent`: when the take that was answered was sent, on the clock of `performance.now()`. The lease lasts for
 *  its ttl from then on, at least; the wait before it does not count. */
export type TakenLease = { readonly committed: Committed; readonly sent: number }

/** Takes a lease; with `wait` as soon as it is free. Throws ECONFLICT without `wait` where it is held. */
export async function takeLease(
  store: Store,
  key: string,
  options: {
    readonly ttl: number
    readonly owner: string
    readonly wait: boolean
    readonly namespace?: string
  },
): Promise<TakenLease> {
  const { ttl, owner, wait, ...scope } = options
  const op = { op: 'lease', key, action: 'take', ttl, owner } as const
  for (;;) {
    const sent = performance.now()
    try {
      return { committed: await store.commit({ ops: [op] }, scope), sent }
    } catch (error) {
      if (!wait || !isCode(error, 'ECONFLICT')) throw error
    }
    await untilFree(store, key, scope)
  }
}

/** Throws EIO: the answer has no token. */
export function tokenOf({ results }: Committed): Token {
  const token = results[0]?.token
  if (token) return token
  throw new TailraceError('EIO', 'the server answered a take without a token')
}

export function ttlOf(invocation: Invocation): number {
  return parseDuration('--ttl', invocation.options.text('ttl') ?? ttlDefault)
}

export function ownerOf(invocation: Invocation): string {
  const text = `${userInfo().username}@${hostname()} pid ${process.pid}`
  return invocation.options.text('owner') ?? text
}

export function scopeOf(invocation: Invocation): { readonly namespace?: string } {
  return defined({ namespace: invocation.options.text('namespace') })
}

async function untilFree(store: Store, key: string, scope: { readonly namespace?: string }) {
  for await (const event of watchLease(store, key, scope)) {
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

function watchLease(store: Store, key: string, scope: { readonly namespace?: string }) {
  return store.watch(key, { mode: 'value', lease: true, waitCreate: true, ...scope })
}

async function commit(invocation: Invocation, action: LeaseAction): Promise<undefined> {
  const key = argument(invocation, 0)
  return withStore(invocation, async (store) => {
    const ops = [{ op: 'lease', key, ...action }] as const
    const committed = await store.commit({ ops }, scopeOf(invocation))
    if (invocation.options.flag('json')) await invocation.stdout.json(committed)
    return undefined
  })
}

function tokenArgument(invocation: Invocation): Token {
  const text = argument(invocation, 1)
  const token = tokenOfText(text)
  if (token) return token
  throw new UsageError(`a token is INCARNATION:SEQ, as take prints it, not "${text}"`)
}
