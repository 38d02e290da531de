/** What every request of the store has: its namespace, the root that it reads, how long it may wait. */

import type { ReadScope } from '../api/kvs.js'
import type { Scope } from '../api/transaction.js'
import { isCode } from '../error.js'
import type { Asking } from './http.js'
import type { Query } from './path.js'

export function namespaceOf(scope: Scope): Query {
  return { namespace: scope.namespace }
}

export function readQuery(scope: ReadScope): Query {
  return { namespace: scope.namespace, at: scope.at, minSeq: scope.minSeq }
}

export function askingOf(scope: ReadScope): Pick<Asking, 'signal' | 'patience'> {
  return { signal: scope.signal, patience: scope.minSeq === undefined ? undefined : 'answer' }
}

/** Undefined where the server says ENOENT. */
export async function missing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined
    throw error
  }
}
