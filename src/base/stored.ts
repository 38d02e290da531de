/** Checks of records that were read from a disk. Runs in browsers.
 *  Invariant: a record that passed is what its type says; one that did not is
 *  ECORRUPT, never a wrong value. */

import { TailraceError } from '../error.js'

/** True for a whole number, 0 or more, that a double keeps exactly. */
export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

/** Returns an ECORRUPT. `what` names the record that could not be read, with its article. */
export function corrupt(what: string): TailraceError {
  return new TailraceError('ECORRUPT', `${what} cannot be read: restore a copy`)
}
