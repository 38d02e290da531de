/** What an import answers, read once by the client. See rfc/12, rfc/15. */

import { parseBlobref } from '../blob/blobref.js'
import type { Imported } from '../kvs/upkeep.js'
import { parseTotals } from './answers.js'
import { parseFields, parseInteger, parseText } from './parse.js'

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
  }
}
