/** Bytes in JSON: `{"base64": "…"}`, and nothing else. See rfc/12, rule 4. Runs in browsers too.
 *  Invariant: nothing is taken for bytes by its look; where a schema says bytes, it reads them with `base64Of`. */

import { encodeBase64 } from '../blob/base64.js'
import { TailraceError } from '../error.js'

const encoder = new TextEncoder()

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

/** The text of an object whose only field is `base64`. */
export function base64Of(value: object): string | undefined {
  const names = Object.keys(value)
  if (names.length !== 1 || names[0] !== 'base64') return undefined
  const text = (value as { readonly base64: unknown }).base64
  return typeof text === 'string' ? text : undefined
}
