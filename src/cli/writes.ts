/** The commands that change keys one at a time: put, append, rm, mkdir, ln. See rfc/6. They print
 *  nothing unless asked (`--json`): an exit code of 0 means durable. */

import type { Store } from '../api/store.js'
import {
  type Capping,
  type Committed,
  type CommittedOp,
  type Expiry,
  type Guard,
  type Op,
  opsMax,
  type Scope,
  transactionSizeMax,
} from '../api/transaction.js'
import { TailraceError } from '../error.js'
import { capOf } from './cap.js'
import { parseDuration } from './duration.js'
import { argument, defined, type Invocation, isStdin, UsageError } from './invocation.js'
import { leaseGuards } from './lease-guard.js'
import { onceOf, producerOf } from './once.js'
import { readAhead } from './read-ahead.js'
import { withStore } from './session.js'
import { fileChunks, lineGroups, readAll, stdinChunks } from './stdin.js'

/** Bytes of the lines that one transaction appends. */
const linesSizeMax = 4 * 1024 * 1024

export async function put(invocation: Invocation): Promise<undefined> {
  const key = argument(invocation, 0)
  const { options } = invocation
  const value = await putValue(invocation)
  return withStore(invocation, async (store) => {
    const guards = putGuards(key, invocation)
    const contentType = options.text('type')
    const committed = await store.put(key, value, {
      ...scopeOf(invocation),
      ...defined({ contentType }),
      ...lifeOf(invocation),
      ...onceOf(invocation),
      ...(guards.length > 0 ? { guards } : {}),
    })
    return print(invocation, committed)
  })
}

async function putValue(invocation: Invocation): Promise<string | AsyncIterable<Uint8Array>> {
  const value = invocation.arguments[1]
  const file = invocation.options.text('file')
  if ((value === undefined) === (file === undefined)) {
    throw new UsageError(
      'put takes one of VALUE, - (stdin) and --file; a VALUE that begins with a dash stands behind --',
    )
  }
  if (file !== undefined) return fileChunks(file)
  return value === undefined || isStdin(invocation, 1) ? stdinChunks() : value
}

function putGuards(key: string, invocation: Invocation): Guard[] {
  const ref = invocation.options.text('ifRef')
  const guards: Guard[] = ref === undefined ? [] : [{ key, ref }]
  if (invocation.options.flag('ifAbsent')) guards.push({ key, absent: true })
  return [...guards, ...leaseGuards(invocation)]
}

export async function append(invocation: Invocation): Promise<undefined> {
  const key = argument(invocation, 0)
  const value = invocation.arguments[1]
  const seal = invocation.options.flag('seal')
  const inLines = invocation.options.flag('lines')
  const asItComes = invocation.options.flag('stream')
  if (value === undefined && !seal) {
    throw new UsageError(
      'append takes VALUE, - (stdin) or --seal; a VALUE that begins with a dash stands behind --',
    )
  }
  const fromStdin = isStdin(invocation, 1)
  if ((inLines || asItComes) && !fromStdin) {
    throw new UsageError('--lines and --stream go with - (stdin)')
  }
  const numbered = producerOf(invocation)
  const isNamed = numbered.producer || invocation.options.text('idempotencyKey') !== undefined
  if (isNamed && (inLines || asItComes)) {
    throw new UsageError('--producer and --idempotency-key are of one append: use --exactly-once')
  }
  if (value === undefined && (numbered.producer || invocation.options.text('ttl'))) {
    throw new UsageError('--producer and --ttl go with a value')
  }
  if (value === undefined && Object.keys(lifeOf(invocation)).length > 0) {
    throw new UsageError('--ttl, --keep and their kin go with a value: a seal alone is no append')
  }
  return withStore(invocation, async (store) => {
    if (value === undefined) return commit(store, invocation, [{ op: 'seal', key }])
    if (inLines)
      return appendGroups(store, invocation, key, lineGroups(stdinChunks(), linesSizeMax))
    if (asItComes) return appendPieces(store, invocation, key)
    const hint = 'use --stream (appends as it comes), --lines, or put'
    const bytes = fromStdin ? await readAll(stdinChunks(), transactionSizeMax, hint) : value
    const committed = await store.append(key, bytes, {
      ...scopeOf(invocation),
      guards: leaseGuards(invocation),
      ...(seal ? { seal } : {}),
      ...lifeOf(invocation),
      ...numbered,
      ...onceOf(invocation),
    })
    return print(invocation, committed)
  })
}

/** One append for each item; the items of a group, which came together, go in as few transactions as
 *  hold them. */
async function appendGroups(
  store: Store,
  invocation: Invocation,
  key: string,
  groups: AsyncIterable<readonly Uint8Array[]>,
): Promise<undefined> {
  for await (const group of groups) {
    let ops: Op[] = []
    let size = 0
    for (const value of group) {
      if (ops.length === opsMax || size + value.length > linesSizeMax) {
        await commit(store, invocation, ops)
        ops = []
        size = 0
      }
      ops.push({ op: 'append', key, value, ...lifeOf(invocation) })
      size += value.length
    }
    await commit(store, invocation, ops)
  }
  if (invocation.options.flag('seal')) await commit(store, invocation, [{ op: 'seal', key }])
  return undefined
}

/** What comes while one append is on its way is the next one. */
async function appendPieces(store: Store, invocation: Invocation, key: string): Promise<undefined> {
  const guards = leaseGuards(invocation)
  const options = { ...scopeOf(invocation), guards, ...lifeOf(invocation), ...onceOf(invocation) }
  for await (const piece of readAhead(stdinChunks())) {
    for (let at = 0; at < piece.length; at += transactionSizeMax) {
      const value = piece.subarray(at, at + transactionSizeMax)
      await print(invocation, await store.append(key, value, options))
    }
  }
  if (invocation.options.flag('seal')) await commit(store, invocation, [{ op: 'seal', key }])
  return undefined
}

export async function rm(invocation: Invocation): Promise<undefined> {
  const recursive = invocation.options.flag('recursive') ? { recursive: true } : {}
  const keys = invocation.arguments
  return withStore(invocation, async (store) => {
    // Under a key the first try may have removed them.
    const { idempotencyKey } = onceOf(invocation)
    if (!invocation.options.flag('force') && idempotencyKey === undefined) {
      for (const key of keys) {
        const found = await store.stat(key, { ...scopeOf(invocation), nofollow: true })
        if (!found) {
          throw new TailraceError('ENOENT', `there is no key "${key}"; --force lets that pass`)
        }
      }
    }
    return commit(
      store,
      invocation,
      keys.map((key) => ({ op: 'unlink', key, ...recursive })),
    )
  })
}

export async function mkdir(invocation: Invocation): Promise<undefined> {
  return withStore(invocation, (store) =>
    commit(
      store,
      invocation,
      invocation.arguments.map((key) => ({ op: 'mkdir', key })),
    ),
  )
}

export async function ln(invocation: Invocation): Promise<undefined> {
  const target = argument(invocation, 0)
  const key = argument(invocation, 1)
  const namespace = invocation.options.text('targetNamespace')
  return withStore(invocation, (store) =>
    commit(store, invocation, [{ op: 'symlink', key, target, ...defined({ namespace }) }]),
  )
}

async function commit(
  store: Store,
  invocation: Invocation,
  ops: readonly Op[],
): Promise<undefined> {
  return print(
    invocation,
    await store.commit(
      { guards: leaseGuards(invocation), ops },
      { ...scopeOf(invocation), ...onceOf(invocation) },
    ),
  )
}

async function print(
  invocation: Invocation,
  committed: Committed | CommittedOp,
): Promise<undefined> {
  if (invocation.options.flag('json')) await invocation.stdout.json(committed)
  return undefined
}

/** When the value goes, and how much of it is kept. */
function lifeOf(invocation: Invocation): Expiry & Capping {
  return { ...expiryOf(invocation), ...capOf(invocation) }
}

function expiryOf(invocation: Invocation): Expiry {
  const ttl = invocation.options.text('ttl')
  const sliding = invocation.options.flag('sliding') ? true : undefined
  return defined({ ttl: ttl === undefined ? undefined : parseDuration('--ttl', ttl), sliding })
}

function scopeOf(invocation: Invocation): Scope {
  return defined({ namespace: invocation.options.text('namespace') })
}
