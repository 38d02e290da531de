/** A transaction as it comes over the wire, from JSON or from msgpack. See rfc/12.
 *  Invariant: what leaves here has the shape of kvs/kvs.ts and its bounds; keys and refs are still
 *  the kvs's to check. */

import {
  guardsMax,
  type Op,
  opsMax,
  type Transaction,
  transactionSizeMax,
} from '../api/transaction.js'
import { TailraceError } from '../error.js'
import { parseGuard, parseOp } from './op.js'
import { optional, parseArray, parseFields, parseFlag } from './parse.js'

const transactionFields = new Set(['guards', 'ops', 'noMerge'])

/** Throws EINVAL, E2BIG (more than `opsMax`, `guardsMax`, `transactionSizeMax`). */
export function parseTransaction(input: unknown): Transaction {
  const fields = parseFields(input, 'transaction', transactionFields)
  const ops = parseArray(fields['ops'], 'ops')
  const guards = fields['guards'] === undefined ? [] : parseArray(fields['guards'], 'guards')
  if (ops.length > opsMax) throw tooBig(`a transaction has at most ${opsMax} ops`)
  if (guards.length > guardsMax) throw tooBig(`a transaction has at most ${guardsMax} guards`)
  const parsed = ops.map(parseOp)
  if (sizeOf(parsed) > transactionSizeMax) {
    throw tooBig(
      `the values of a transaction have at most ${transactionSizeMax} bytes; PUT streams`,
    )
  }
  return {
    ...(fields['guards'] === undefined ? {} : { guards: guards.map(parseGuard) }),
    ops: parsed,
    ...optional('noMerge', fields, 'transaction', parseFlag),
  }
}

function sizeOf(ops: readonly Op[]): number {
  return ops.reduce((sum, op) => sum + ('value' in op ? op.value.length : 0), 0)
}

function tooBig(message: string): TailraceError {
  return new TailraceError('E2BIG', message)
}
