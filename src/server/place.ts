/** Places as clients hold them: the header `Tailrace-Position`, `?position=`, the ids of event streams. See
 *  rfc/12, rule 30. Pure.
 *  Invariant: `parsePlace(formatPlace(place))` is the place; a client need not look into it. */

import { invalid } from '../base/shape.js'
import { parseBlobref } from '../blob/blobref.js'
import type { LogPlace } from '../kvs/log-place.js'

export const positionHeader = 'tailrace-position'

/** Neither a URL nor a header says it otherwise, and no part has it. */
const separator = '~'

export function formatPlace({ position, offset, seq }: LogPlace): string {
  const { incarnation, index, prefix } = position
  return [incarnation, index, offset, seq, prefix].join(separator)
}

/** `what` names it in errors. Throws EINVAL. */
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
