/** Bytes in JSON: `{"base64": "…"}`, and nothing else. See rfc/12, rule 4. Runs in browsers too.
 *  Invariant: `fromJson(toJson(value))` gives equal bytes in equal places. */

import { TailraceError } from '../error.js'

const encoder = new TextEncoder()
const pattern = /^[A-Za-z0-9+/]*={0,2}$/
/** `String.fromCharCode` takes its bytes as arguments; this many at a time fit any stack. */
const stepSize = 8_192

/** Standard alphabet, padded. */
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

/** Standard alphabet, padded; anything else is EINVAL, so that a cut string is not a shorter value. */
export function decodeBase64(text: string): Uint8Array {
  if (text.length % 4 !== 0 || !pattern.test(text)) {
    throw new TailraceError('EINVAL', 'base64 must be of the standard alphabet, and padded')
  }
  if (typeof Buffer === 'function') return Buffer.from(text, 'base64')
  const binary = atob(text)
  const bytes = new Uint8Array(binary.length)
  for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at)
  return bytes
}

/** The bytes of text, in UTF-8. Throws EINVAL for a lone surrogate, which has none. */
export function encodeText(text: string): Uint8Array {
  if (!text.isWellFormed()) throw new TailraceError('EINVAL', 'text must be well-formed Unicode')
  return encoder.encode(text)
}

/** A copy in which bytes, at any depth, are `{base64}`. Fields that are undefined are left out. */
export function toJson(value: unknown): unknown {
  if (value instanceof Uint8Array) return { base64: encodeBase64(value) }
  if (Array.isArray(value)) return value.map(toJson)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(([, field]) => field !== undefined)
  return Object.fromEntries(entries.map(([name, field]) => [name, toJson(field)]))
}

/** A copy in which each `{base64}`, at any depth, is bytes. Throws EINVAL. */
export function fromJson(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fromJson)
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value
  const base64 = base64Of(value)
  if (base64 !== undefined) return decodeBase64(base64)
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, fromJson(field)]))
}

/** The text of an object whose only field is `base64`. */
export function base64Of(value: object): string | undefined {
  const names = Object.keys(value)
  if (names.length !== 1 || names[0] !== 'base64') return undefined
  const text = (value as { readonly base64: unknown }).base64
  return typeof text === 'string' ? text : undefined
}
