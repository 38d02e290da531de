/** Headers of requests. Text in a header: each byte of its UTF-8 is one character (RFC 9110, 5.5;
 *  rfc/12, rule 20). The header `Tailrace-Guards`: the guards of a write whose body is the value
 *  itself, in the same JSON as in a transaction (rfc/12, rule 18). Pure.
 *  Invariant: what one side can write into a header is what the other side reads. */

import type { Guard } from '../api/transaction.js'
import { invalid } from '../base/shape.js'
import { reasonOf } from '../error.js'
import { parse } from './schema.js'
import { guards as guardsShape } from './transaction.js'

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const encoder = new TextEncoder()

/** Encodes text for a header. Returns undefined if a header cannot carry it: it has a control
 *  character or a lone surrogate, or it begins or ends with a blank. */
export function toHeader(text: string): string | undefined {
  const bytes = encoder.encode(text)
  if (!text.isWellFormed() || bytes.some(isControl) || text !== trimmed(text)) return undefined
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')
}

/** Decodes the value of the header `name`. Throws EINVAL if it is not UTF-8. */
export function fromHeader(name: string, value: string): string {
  try {
    return decoder.decode(Uint8Array.from(value, (unit) => unit.charCodeAt(0)))
  } catch {
    throw invalid(`${name} must be UTF-8`)
  }
}

function isControl(byte: number): boolean {
  return byte < 0x20 || byte === 0x7f
}

/** Removes blanks at both ends, as HTTP does with the value of a header. */
function trimmed(text: string): string {
  let [from, to] = [0, text.length]
  while (isBlank(text[from])) from++
  while (to > from && isBlank(text[to - 1])) to--
  return text.slice(from, to)
}

function isBlank(character: string | undefined): boolean {
  return character === ' ' || character === '\t'
}

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
    const reason = reasonOf(cause)
    throw invalid(`Tailrace-Guards must be a JSON array of guards: ${reason}`)
  }
}
