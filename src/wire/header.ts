/** Text as the value of an HTTP header: its UTF-8 bytes, each as one character (RFC 9110, 5.5). See rfc/12,
 *  rule 20. Pure.
 *  Invariant: `fromHeader(toHeader(text))` is the text. */

import { invalid } from '../base/shape.js'

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const encoder = new TextEncoder()

/** Undefined for what no header carries as it is: control characters, and blanks at an end. */
export function toHeader(text: string): string | undefined {
  const bytes = encoder.encode(text)
  if (!text.isWellFormed() || bytes.some(isControl) || text !== trimmed(text)) return undefined
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')
}

/** Throws EINVAL. */
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

/** Headers lose blanks at their ends. */
function trimmed(text: string): string {
  let [from, to] = [0, text.length]
  while (isBlank(text[from])) from++
  while (to > from && isBlank(text[to - 1])) to--
  return text.slice(from, to)
}

function isBlank(character: string | undefined): boolean {
  return character === ' ' || character === '\t'
}
