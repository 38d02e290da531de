/** The options of a read as options of its request, and the answer for a key that is missing. */

import type { ReadScope } from '../api/kvs.js'
import { isCode } from '../error.js'
import type { Asking } from './http.js'

/** Returns the options of a request for a read. A read with `minSeq` may wait for its answer. */
export function askingOf(scope: ReadScope): Pick<Asking, 'signal' | 'patience'> {
  return { signal: scope.signal, patience: scope.minSeq === undefined ? undefined : 'answer' }
}

/** Returns the answer, and undefined for ENOENT. */
export async function missing<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined
    throw error
  }
}
