/** How long a read may wait, and what it says where nothing is there. */

import type { ReadScope } from '../api/kvs.js'
import { isCode } from '../error.js'
import type { Asking } from './http.js'

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
