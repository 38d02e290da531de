/** What an import answers, read once by the client. See rfc/12, rfc/15. */

import type { Imported, Skipped } from '../api/upkeep.js'
import { parseBlobref } from '../blob/blobref.js'
import { parseCode } from '../error.js'
import { parseTotals } from './answers.js'
import { optional, parseArray, parseFields, parseInteger, parseText } from './parse.js'

export function parseImported(input: unknown): Imported {
  const fields = parseFields(input, 'answer')
  return {
    namespace: parseText(fields['namespace'], 'namespace'),
    seq: parseInteger(fields['seq'], 'seq'),
    ref: parseBlobref(fields['ref']),
    keys: parseInteger(fields['keys'], 'keys'),
    size: parseInteger(fields['size'], 'size'),
    stored: parseTotals(fields['stored'], 'stored'),
    read: parseTotals(fields['read'], 'read'),
    ...optional('skipped', fields, 'answer', (list) =>
      parseArray(list, 'skipped').map(parseSkipped),
    ),
  }
}

function parseSkipped(input: unknown): Skipped {
  const fields = parseFields(input, 'skipped')
  return {
    key: parseText(fields['key'], 'key'),
    code: parseCode(fields['code']) ?? 'EIO', // of a newer version
    message: parseText(fields['message'], 'message'),
  }
}
