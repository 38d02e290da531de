/** The records of the last failures of targets, from which a call can be made again. See rfc/24, rule 31. */

import type { ErrorRecord } from '../error.js'
import type { MadeOf } from './made.js'

/** Facts of a failed call from which it can be made again. */
export type FailedOf = Pick<MadeOf, 'id' | 'action'> & {
  /** The results of the targets that it depends on, by their names: the hash of each, and the id of the
   *  action that the cache has it under. A `map` or `cross` has no id: its branches have. */
  readonly inputs: { readonly [target: string]: { readonly hash: string; readonly id?: string } }
}

/** The record of the last failure of a target. A target whose call had not begun has an error only. */
export type FailedRecord = Partial<FailedOf> & {
  /** The run in which it failed. */
  readonly run: string
  readonly error: ErrorRecord
}

/** Returns the key of the last failure of a target. */
export function failedKey(target: string): string {
  return `failed/${encodeURIComponent(target)}`
}
