/** The text form of places: in the header `Tailrace-Position`, in `?position=`, and as ids of event
 *  streams. See rfc/12, rules 30 and 31. Pure.
 *  Invariant: `parsePlace(formatPlace(place))` is the place. A client need not parse the text. */

import { invalid } from '../base/shape.js'
import { parseBlobref } from '../blob/blobref.js'
import type { LogPlace } from '../kvs/log-place.js'

/** The header of an answer with the place behind the bytes of its key. */
export const positionHeader = 'tailrace-position'

/** The character between two parts. URLs and headers need not escape it, and no part contains
 *  it. */
const separator = '~'

/** Returns the text of a place. */
export function formatPlace({ position, offset, seq }: LogPlace): string {
  const { incarnation, index, prefix } = position
  return [incarnation, index, offset, seq, prefix].join(separator)
}

/** Parses a place. `what` names it in errors. Throws EINVAL. */
export function parsePlace(text: string, what: string): LogPlace {
  const [incarnation = '', index = '', offset = '', seq = '', prefix = '', ...more] =
    text.split(separator)
  if (!/^[0-9a-f.]{1,128}$/.test(incarnation) || more.length > 0) throw unreadable(what)
  return {
    position: {
      incarnation,
      index: numberOf(index, what),
      prefix: parseBlobref(prefix),
    },
    offset: numberOf(offset, what),
    seq: numberOf(seq, what),
  }
}

function numberOf(text: string, what: string): number {
  const value = Number(text)
  if (/^[0-9]{1,16}$/.test(text) && Number.isSafeInteger(value)) return value
  throw unreadable(what)
}

function unreadable(what: string) {
  return invalid(`${what} must be a position as an answer of this server had it`)
}
