/** The guards of a write whose body is the value itself, as a header: `Tailrace-Guards`, the JSON that a
 *  transaction has. See rfc/12, rule 18. Pure.
 *  Invariant: what one side can write into the header the other reads as the same guards. */

import type { Guard } from '../api/transaction.js'
import { invalid } from '../base/shape.js'
import { fromHeader } from './header.js'
import { parse } from './schema.js'
import { guards as guardsShape } from './transaction.js'

export const guardsHeader = 'tailrace-guards'
/** Bytes that a client puts into it: servers and proxies bound all headers together, often at 16 KiB. */
export const guardsHeaderSizeMax = 8 * 1024

/** Undefined where there are too many for a header. */
export function toGuardsHeader(guards: readonly Guard[]): string | undefined {
  const json = JSON.stringify(guards).replace(/[^\x20-\x7e]/g, escaped)
  return json.length > guardsHeaderSizeMax ? undefined : json
}

/** Throws EINVAL, E2BIG. */
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
