/** Errors that every engine throws in the same words. See rfc/2 and rfc/4. */

import { TailraceError } from '../error.js'

/** Makes the error for a call on a closed engine. */
export function closedError(): TailraceError {
  return new TailraceError('ECLOSED', 'the engine is closed: open the store again')
}

/** Makes the error for a namespace that is not there. */
export function noNamespace(name: string): TailraceError {
  return new TailraceError('ENONS', `no namespace ${name}: create it first`)
}

/** Makes the error for a namespace that is there already. */
export function namespaceExists(name: string): TailraceError {
  return new TailraceError('EEXIST', `namespace ${name} is there: choose another name`)
}
