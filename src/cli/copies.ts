/** The commands that name what is there already: cp, mv, fork, restore, readlink. See rfc/6, rules 24 to 29. */

import type { Op, Scope } from '../api/transaction.js'
import { TailraceError } from '../error.js'
import { argument, defined, type Invocation, UsageError } from './invocation.js'
import { leaseGuards } from './lease-guard.js'
import { quoted } from './quote.js'
import { withStore } from './session.js'

export async function cp(invocation: Invocation): Promise<undefined> {
  return commit(invocation, { op: 'copy', ...ends(invocation), ...source(invocation) })
}

export async function mv(invocation: Invocation): Promise<undefined> {
  return commit(invocation, { op: 'move', ...ends(invocation), ...source(invocation) })
}

export async function fork(invocation: Invocation): Promise<undefined> {
  const count = invocation.options.integer('count')
  if (count === undefined) throw new UsageError('fork takes --count, the appends to keep')
  const { from, key } = ends(invocation)
  const { namespace, at } = source(invocation)
  return commit(invocation, { op: 'fork', from, key, count, ...defined({ namespace, at }) })
}

export async function restore(invocation: Invocation): Promise<undefined> {
  const at = invocation.options.at('at')
  if (at === undefined)
    throw new UsageError('restore takes --at, the seq or ref of a retained root')
  return commit(invocation, { op: 'restore', key: argument(invocation, 0), at })
}

export async function readlink(invocation: Invocation): Promise<undefined> {
  const key = argument(invocation, 0)
  const { options, stdout } = invocation
  const scope = { ...scopeOf(invocation), ...defined({ at: options.at('at') }), nofollow: true }
  return withStore(invocation, async (store) => {
    const found = await store.stat(key, scope)
    if (!found) throw new TailraceError('ENOENT', `there is no key "${key}"`)
    const { target, namespace } = found
    if (target === undefined) throw new TailraceError('EINVAL', `"${key}" is no link`)
    if (options.flag('json')) await stdout.json({ target, ...defined({ namespace }) })
    else await stdout.line(quoted(namespace === undefined ? target : `${namespace}:${target}`))
    return undefined
  })
}

function ends(invocation: Invocation): { readonly from: string; readonly key: string } {
  return { from: argument(invocation, 0), key: argument(invocation, 1) }
}

function source({ options }: Invocation) {
  const replace = options.flag('replace') ? { replace: true } : {}
  const named = { namespace: options.text('fromNamespace'), at: options.at('at') }
  return { ...defined(named), ...replace }
}

async function commit(invocation: Invocation, op: Op): Promise<undefined> {
  return withStore(invocation, async (store) => {
    const committed = await store.commit(
      { guards: leaseGuards(invocation), ops: [op] },
      scopeOf(invocation),
    )
    if (invocation.options.flag('json')) await invocation.stdout.json(committed)
    return undefined
  })
}

function scopeOf(invocation: Invocation): Scope {
  return defined({ namespace: invocation.options.text('namespace') })
}
