/** copy, fork, move and restore as the commit loop takes them. See rfc/6. */

import type { Op } from '../api/transaction.js'
import { parseBlobref } from '../blob/blobref.js'
import { TailraceError } from '../error.js'
import { type Key, parseKey } from '../tree/key.js'
import { parseNamespaceName } from '../tree/namespace-name.js'

/** Where a copy comes from. `namespace`: undefined is the group's own. */
export type PreparedSource = {
  readonly from: Key
  readonly namespace: string | undefined
  readonly at: number | string | undefined
}

type Target = { readonly key: Key; readonly replace: boolean }

export type CopyOp =
  | ({ readonly op: 'copy' } & Target & PreparedSource)
  | ({ readonly op: 'fork'; readonly key: Key; readonly count: number } & PreparedSource)
  | ({ readonly op: 'move' } & Target & Omit<PreparedSource, 'at'>)
  | { readonly op: 'restore'; readonly key: Key; readonly at: number | string }

/** Throws EINVAL. */
export function prepareCopy(op: Extract<Op, { op: CopyOp['op'] }>): CopyOp {
  const key = parseKey(op.key)
  switch (op.op) {
    case 'copy':
      return { op: 'copy', key, replace: op.replace ?? false, ...sourceOf(op) }
    case 'fork':
      return { op: 'fork', key, count: countOf(op.count, 'count'), ...sourceOf(op) }
    case 'move': {
      const { from, namespace } = sourceOf(op)
      return { op: 'move', key, replace: op.replace ?? false, from, namespace }
    }
    case 'restore':
      return { op: 'restore', key, at: atOf(op.at) }
    default:
      return op satisfies never
  }
}

function sourceOf(op: {
  readonly from: string
  readonly namespace?: string
  readonly at?: number | string
}): PreparedSource {
  const { from, namespace, at } = op
  return {
    from: parseKey(from),
    namespace: namespace === undefined ? undefined : parseNamespaceName(namespace),
    at: at === undefined ? undefined : atOf(at),
  }
}

function atOf(at: number | string): number | string {
  return typeof at === 'string' ? parseBlobref(at) : countOf(at, 'at')
}

function countOf(input: number, what: string): number {
  if (Number.isSafeInteger(input) && input >= 0) return input
  throw new TailraceError('EINVAL', `${what} is a whole number, 0 or more`)
}
