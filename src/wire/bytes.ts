/** Bytes in JSON: `{"base64": "…"}`, and nothing else. See rfc/12, rule 4. Runs in browsers too.
 *  Invariant: an object `{base64}` is read as bytes only where a schema says bytes. */

import { encodeBase64 } from '../blob/base64.js'
import { TailraceError } from '../error.js'

const encoder = new TextEncoder()

/** Encodes text as UTF-8. Throws EINVAL if it has a lone surrogate, which UTF-8 cannot encode. */
export function encodeText(text: string): Uint8Array {
  if (!text.isWellFormed()) throw new TailraceError('EINVAL', 'text must be well-formed Unicode')
  return encoder.encode(text)
}

/** Copies a value for JSON: bytes at any depth become `{base64}`, and fields that are undefined are
 *  left out. */
export function toJson(value: unknown): unknown {
  if (value instanceof Uint8Array) return { base64: encodeBase64(value) }
  if (Array.isArray(value)) return value.map(toJson)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(([, field]) => field !== undefined)
  return Object.fromEntries(entries.map(([name, field]) => [name, toJson(field)]))
}

/** Returns the text of an object whose only field is `base64`. Returns undefined for any other. */
export function base64Of(value: object): string | undefined {
  const names = Object.keys(value)
  if (names.length !== 1 || names[0] !== 'base64') return undefined
  const text = (value as { readonly base64: unknown }).base64
  return typeof text === 'string' ? text : undefined
}
