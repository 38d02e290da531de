/** `tailrace trim`: drops the head of a log. See rfc/6. */

import type { TrimTo } from '../api/transaction.js'
import { parseDuration } from './duration.js'
import { argument, defined, type Invocation, type Options, UsageError } from './invocation.js'
import { leaseGuards } from './lease-guard.js'
import { withStore } from './session.js'

export async function trim(invocation: Invocation): Promise<undefined> {
  const key = argument(invocation, 0)
  const { options } = invocation
  const to = trimTo(options)
  return withStore(invocation, async (store) => {
    const scope = defined({ namespace: options.text('namespace') })
    const committed = await store.commit(
      { guards: leaseGuards(invocation), ops: [{ op: 'trim', key, ...to }] },
      scope,
    )
    if (options.flag('json')) await invocation.stdout.json(committed)
    return undefined
  })
}

function trimTo(options: Options): TrimTo {
  const before = options.integer('before')
  const keep = options.integer('keep')
  const keepBytes = options.integer('bytes')
  const age = options.text('olderThan')
  const olderThan = age === undefined ? undefined : parseDuration('--older-than', age)
  const given: TrimTo[] = []
  if (before !== undefined) given.push({ before })
  if (keep !== undefined) given.push({ keep })
  if (keepBytes !== undefined) given.push({ keepBytes })
  if (olderThan !== undefined) given.push({ olderThan })
  const [to, ...others] = given
  if (to && others.length === 0) return to
  throw new UsageError('trim takes one of --keep, --before, --bytes and --older-than')
}
