/** Bytes as base64 text and back, in Node and in browsers alike: `{"base64": "…"}` in JSON.
 *  See rfc/12, rule 4. */

import { TailraceError } from '../error.js'

const pattern = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
/** Arguments of one call of `String.fromCharCode`. */
const charsMax = 8_192

/** Standard alphabet, padded. Throws EINVAL. */
export function bytesOfBase64(input: unknown): Uint8Array {
  if (typeof input !== 'string' || !pattern.test(input)) {
    throw new TailraceError('EINVAL', '"base64" is text in padded base64')
  }
  return Uint8Array.from(atob(input), (char) => char.charCodeAt(0))
}

export function base64Of(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += charsMax) {
    text += String.fromCharCode(...bytes.subarray(at, at + charsMax))
  }
  return btoa(text)
}
