/** Frames from the server, read once by its client. See rfc/12.
 *  Invariant: what leaves here has the shape of `Response`; errors keep their code. */

import { parseBlobref } from '../blob/blobref.js'
import { parseOneOf, parsePosition } from './answers.js'
import type { Response } from './frames.js'
import { parseToken } from './op.js'
import { invalid, optional, parseFields, parseFlag, parseInteger, parseText } from './parse.js'
import { errorBodyOf, parseErrorBody } from './status.js'

const types = ['append', 'value', 'lease', 'live', 'end', 'result', 'error'] as const
const reasons = ['sealed', 'canceled'] as const

/** Throws EINVAL; `readAnswer` makes it the server's fault. */
export function parseResponse(input: unknown): Response {
  const fields = parseFields(input, 'frame')
  const type = parseOneOf(fields['type'], types, 'type')
  const id = parseInteger(fields['id'], 'id')
  switch (type) {
    case 'append':
      return {
        id,
        type,
        index: parseInteger(fields['index'], 'index'),
        offset: parseInteger(fields['offset'], 'offset'),
        seq: parseInteger(fields['seq'], 'seq'),
        position: parsePosition(fields['position']),
        ...(fields['more'] === true ? { more: true } : {}),
        data: parseBytes(fields['data'], 'data'),
      }
    case 'value':
      return {
        id,
        type,
        seq: parseInteger(fields['seq'], 'seq'),
        ref: parseBlobref(fields['ref']),
        size: parseInteger(fields['size'], 'size'),
        ...(fields['skipped'] === true ? { skipped: true } : {}),
        ...optional('data', fields, 'value', parseBytes),
      }
    case 'lease':
      return {
        id,
        type,
        seq: parseInteger(fields['seq'], 'seq'),
        held: parseFlag(fields['held'], 'held'),
        ...optional('token', fields, 'lease', parseToken),
        ...optional('owner', fields, 'lease', parseText),
      }
    case 'live':
      return { id, type, ...optional('position', fields, 'live', parsePosition) }
    case 'end':
      return {
        id,
        type,
        reason: parseOneOf(fields['reason'], reasons, 'reason'),
        ...optional('position', fields, 'end', parsePosition),
      }
    case 'result':
      return { id, type, body: fields['body'] }
    case 'error':
      // The message is text in any case: a body that could not be read says so itself.
      parseText(fields['message'], 'message')
      return { id, type, ...errorBodyOf(parseErrorBody(fields)) }
    default:
      return type satisfies never
  }
}

function parseBytes(input: unknown, what: string): Uint8Array {
  if (!(input instanceof Uint8Array)) throw invalid(`${what} must be bytes`)
  return input
}
