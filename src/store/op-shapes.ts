/** Checks the shapes of a transaction's ops and guards, for callers that no compiler checked. See
 *  rfc/6 and rfc/2, rule 11.
 *  Invariant: an op or guard that passes has only the fields of its kind. `transaction.ts` checks
 *  keys, refs and bounds. */

import type {
  Cap,
  Guard,
  LeaseAction,
  Op,
  Producer,
  Token,
  Transaction,
} from '../api/transaction.js'
import {
  at,
  check,
  checkValue,
  count,
  either,
  flag,
  invalid,
  list,
  oneOf,
  type Rule,
  type Shape,
  shapeOf,
  text,
  within,
} from '../base/shape.js'
import { type Failed, TailraceError } from '../error.js'

/** The fields of all members of a union. */
type Fields<T> = { readonly [name in T extends unknown ? keyof T : never]: unknown }
type OpOf<Name extends Op['op']> = Fields<Extract<Op, { readonly op: Name }>>

/** A value: text or bytes. */
export const value: Rule = {
  is: (input) => typeof input === 'string' || input instanceof Uint8Array,
  expected: 'text or bytes',
}
/** A producer with its epoch and seq. */
export const producer: Rule = within(
  shapeOf<Producer>({ id: text, epoch: count, seq: count }, ['id', 'epoch', 'seq']),
)
const token: Rule = within(
  shapeOf<Token>({ incarnation: text, seq: count }, ['incarnation', 'seq']),
)
const anything: Rule = { is: () => true, expected: 'anything' }
const op = text
const key = text
const keyed = { op, key }
const source = { from: text, namespace: text, at }
const expiry = { ttl: count, sliding: flag }
/** A cap of a log, or null, which removes one. */
export const cap: Rule = either(
  within(shapeOf<Cap>({ keep: count, keepBytes: count, keepAge: count })),
  { is: (input) => input === null, expected: 'null' },
)
const trimTo = { before: count, keep: count, keepBytes: count, olderThan: count }

const ops: Readonly<Record<Exclude<Op['op'], 'lease'>, Shape>> = {
  put: shapeOf<OpOf<'put'>>({ ...keyed, value, contentType: text, ...expiry, cap }, [
    'key',
    'value',
  ]),
  append: shapeOf<OpOf<'append'>>({ ...keyed, value, seal: flag, producer, ...expiry, cap }, [
    'key',
    'value',
  ]),
  seal: shapeOf<OpOf<'seal'>>(keyed, ['key']),
  mkdir: shapeOf<OpOf<'mkdir'>>(keyed, ['key']),
  trim: shapeOf<OpOf<'trim'>>({ ...keyed, ...trimTo }, ['key']),
  unlink: shapeOf<OpOf<'unlink'>>({ ...keyed, recursive: flag }, ['key']),
  symlink: shapeOf<OpOf<'symlink'>>({ ...keyed, target: text, namespace: text }, ['key', 'target']),
  copy: shapeOf<OpOf<'copy'>>({ ...keyed, ...source, replace: flag }, ['key', 'from']),
  move: shapeOf<OpOf<'move'>>({ ...keyed, from: text, namespace: text, replace: flag }, [
    'key',
    'from',
  ]),
  fork: shapeOf<OpOf<'fork'>>({ ...keyed, ...source, count }, ['key', 'from', 'count']),
  restore: shapeOf<OpOf<'restore'>>({ ...keyed, at }, ['key', 'at']),
  treeobj: shapeOf<OpOf<'treeobj'>>({ ...keyed, treeobj: anything, dangling: flag }, [
    'key',
    'treeobj',
  ]),
}

type LeaseOf<Name extends LeaseAction['action']> = OpOf<'seal'> &
  Fields<Extract<LeaseAction, { readonly action: Name }>>
const leased = { ...keyed, action: text }
const leases: Readonly<Record<LeaseAction['action'], Shape>> = {
  take: shapeOf<LeaseOf<'take'>>(
    { ...leased, ttl: count, owner: text, takeId: text, ifAbsent: flag, optional: flag },
    ['key', 'ttl'],
  ),
  renew: shapeOf<LeaseOf<'renew'>>({ ...leased, token, ttl: count }, ['key', 'token']),
  release: shapeOf<LeaseOf<'release'>>({ ...leased, token }, ['key', 'token']),
}

/** The guards, by a field that tells them apart. The first field that is there decides. */
const guards: readonly (readonly [name: string, Shape])[] = [
  ['absent', shapeOf({ key, absent: oneOf(true) }, ['key'])],
  ['ref', shapeOf({ key, ref: text }, ['key'])],
  ['count', shapeOf({ key, count }, ['key'])],
  ['seq', shapeOf({ seq: count })],
  ['lease', shapeOf({ lease: text, token }, ['token'])],
  [
    'producer',
    shapeOf({ key, producer: text, epoch: count, next: count }, ['key', 'epoch', 'next']),
  ],
]

const transactions = shapeOf<Transaction>({ guards: list, ops: list, noMerge: flag }, ['ops'])

/** Checks a transaction. Throws EINVAL; `failed` names the wrong op or guard. */
export function checkTransaction(transaction: Transaction): void {
  check('a transaction', transaction, transactions)
  const { ops: given } = transaction
  for (let index = 0; index < given.length; index++) {
    try {
      checkOp(given[index])
    } catch (error) {
      throw named(error, `ops[${index}]`, { op: index })
    }
  }
  checkGuards(transaction.guards)
}

/** Checks guards. Throws EINVAL; `failed` names the wrong guard. */
export function checkGuards(given: readonly Guard[] | undefined): void {
  if (given === undefined) return
  checkValue('guards', given, list)
  for (let index = 0; index < given.length; index++) {
    try {
      checkGuard(given[index])
    } catch (error) {
      throw named(error, `guards[${index}]`, { guard: index })
    }
  }
}

function checkOp(input: Op | undefined): void {
  if (typeof input !== 'object' || input === null) throw invalid('an op must be an object')
  check(input.op, input, shapeOfOp(input))
  if (input.op !== 'trim') return
  const fields: Readonly<Record<string, unknown>> = input
  const [said, beside] = Object.keys(trimTo).filter((name) => fields[name] !== undefined)
  if (said === undefined) throw invalid(`trim needs one of ${Object.keys(trimTo).join(', ')}`)
  if (beside !== undefined) throw invalid(`trim.${beside} means nothing beside ${said}`)
}

function shapeOfOp(input: Op): Shape {
  if (input.op === 'lease') {
    if (Object.hasOwn(leases, input.action)) return leases[input.action]
    throw invalid(`lease.action must be one of ${Object.keys(leases).join(', ')}`)
  }
  if (Object.hasOwn(ops, input.op)) return ops[input.op]
  const names = [...Object.keys(ops), 'lease'].join(', ')
  throw invalid(`there is no op ${JSON.stringify(input.op)}: it must be one of ${names}`)
}

function checkGuard(input: Guard | undefined): void {
  if (typeof input !== 'object' || input === null) throw invalid('a guard must be an object')
  const fields = input as Readonly<Record<string, unknown>>
  const found = guards.find(([name]) => fields[name] !== undefined)
  if (!found) throw invalid(`a guard must have one of ${guards.map(([name]) => name).join(', ')}`)
  check('a guard', input, found[1])
}

function named(error: unknown, where: string, failed: Failed): unknown {
  if (!(error instanceof TailraceError)) return error
  return new TailraceError(error.code, `${where}: ${error.message}`, { failed })
}
