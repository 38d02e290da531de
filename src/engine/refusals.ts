/** Errors that every engine throws in the same words. See rfc/2 and rfc/4. */

import { TailraceError } from '../error.js'

export function closedError(): TailraceError {
  return new TailraceError('ECLOSED', 'the engine is closed: open the store again')
}

export function noNamespace(name: string): TailraceError {
  return new TailraceError('ENONS', `no namespace ${name}: create it first`)
}

export function namespaceExists(name: string): TailraceError {
  return new TailraceError('EEXIST', `namespace ${name} is there: choose another name`)
}
