/** Base64 in the standard alphabet, with padding, in Node and in browsers. See rfc/12, rule 4.
 *  Invariant: `decodeBase64(encodeBase64(bytes))` equals `bytes`. */

import { TailraceError } from '../error.js'

const pattern = /^[A-Za-z0-9+/]*={0,2}$/
/** Bytes of one call of `String.fromCharCode`, which takes them as
 *  arguments: these fit any stack. */
const stepSize = 8_192
/** Characters that are decoded at once: a multiple of 4, so that each piece is whole bytes. */
const pieceSize = 64 * 1024

/** Returns bytes as base64 text. */
export function encodeBase64(bytes: Uint8Array): string {
  if (typeof Buffer === 'function') {
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
  }
  let binary = ''
  for (let at = 0; at < bytes.length; at += stepSize) {
    binary += String.fromCharCode(...bytes.subarray(at, at + stepSize))
  }
  return btoa(binary)
}

/** Returns the bytes of a base64 text. Throws EINVAL for any other text, and for one without its
 *  padding, so that a text that was cut off does not pass for a shorter value. */
export function decodeBase64(text: string): Uint8Array {
  if (text.length % 4 !== 0 || !pattern.test(text)) {
    throw new TailraceError('EINVAL', 'base64 must be of the standard alphabet, and padded')
  }
  if (typeof Buffer === 'function') return bytesOf(text)
  const binary = atob(text)
  const bytes = new Uint8Array(binary.length)
  for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at)
  return bytes
}

/** Decodes piece by piece: Node copies the text that it decodes, with two bytes for each character. */
function bytesOf(text: string): Uint8Array {
  if (text.length <= pieceSize) return Buffer.from(text, 'base64')
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  const bytes = Buffer.allocUnsafeSlow((text.length / 4) * 3 - padding)
  let size = 0
  for (let at = 0; at < text.length; at += pieceSize) {
    size += bytes.write(text.slice(at, at + pieceSize), size, 'base64')
  }
  return bytes
}
