/** Encodes text as the value of an HTTP header: each byte of its UTF-8 is one character (RFC 9110,
 *  5.5). See rfc/12, rule 20. Pure.
 *  Invariant: `fromHeader` returns the text that was given to `toHeader`. */

import { invalid } from '../base/shape.js'

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
