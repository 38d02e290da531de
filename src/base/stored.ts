/** Checks of what was read from a disk, for records of any kind. Runs in browsers.
 *  Invariant: what passed is what its type says; what did not is ECORRUPT, never a wrong value. */

import { TailraceError } from '../error.js'

/** A whole number, 0 or more, that a program can count with. */
export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

/** `what` is the record that could not be read, with its article. */
export function corrupt(what: string): TailraceError {
  return new TailraceError('ECORRUPT', `${what} cannot be read: restore a copy`)
}
