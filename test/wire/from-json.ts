/** Answers in JSON with their bytes as bytes, for tests that do not know the answer's schema. */

import { decodeBase64 } from '../../src/blob/base64.js'
import { base64Of } from '../../src/wire/bytes.js'

/** A copy in which each `{base64}`, at any depth, is bytes. */
export function fromJson(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fromJson)
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value
  const base64 = base64Of(value)
  if (base64 !== undefined) return decodeBase64(base64)
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, fromJson(field)]))
}
