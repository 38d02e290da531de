/** The header `Tailrace-Guards`: the guards of a write whose body is the value itself, in the same
 *  JSON as in a transaction. See rfc/12, rule 18. Pure.
 *  Invariant: guards that one side can write into the header are the guards that the other side
 *  reads. */

import type { Guard } from '../api/transaction.js'
import { invalid } from '../base/shape.js'
import { fromHeader } from './header.js'
import { parse } from './schema.js'
import { guards as guardsShape } from './transaction.js'

/** The name of the header, in lower case. */
export const guardsHeader = 'tailrace-guards'
/** The largest header that a client sends, in bytes. Servers and proxies bound the sum of all
 *  headers, often at 16 KiB. */
export const guardsHeaderSizeMax = 8 * 1024

/** Encodes guards for the header. Returns undefined if they need more than
 *  `guardsHeaderSizeMax`. */
export function toGuardsHeader(guards: readonly Guard[]): string | undefined {
  const json = JSON.stringify(guards).replace(/[^\x20-\x7e]/g, escaped)
  return json.length > guardsHeaderSizeMax ? undefined : json
}

/** Parses the header. Throws EINVAL, E2BIG (more than `guardsMax` guards). */
export function fromGuardsHeader(value: string): readonly Guard[] {
  return parse(guardsShape, parseJson(fromHeader(guardsHeader, value)), 'guards')
}

function escaped(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw invalid(`Tailrace-Guards must be a JSON array of guards: ${reason}`)
  }
}
