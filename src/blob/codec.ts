/** msgpack, canonical: the same value always gives the same, minimal, portable bytes. The only
 *  import of msgpackr. See rfc/3.
 *  Invariant: what is hashed or stored is arrays, strings, numbers, booleans, null and bytes; never
 *  objects by name, whose order and odd names do not survive (rfc/3 says which). */

import { Packr } from 'msgpackr'
import { TailraceError } from '../error.js'

const packr = new Packr({ useRecords: false, variableMapSize: true, int64AsType: 'number' })

/** What may be stored. A Map encodes in its own order of names, and decodes as an object. */
export type Plain =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly Plain[]
  | ReadonlyMap<string, Plain>

/** Arrays and maps inside each other, at most. */
export const plainDepthMax = 64

/** What came from outside, as what may be stored: objects become Maps in the order of their names.
 *  Throws EINVAL for what msgpack would change in silence: `undefined`, functions, bigints and other
 *  classes; numbers that are not finite, and integers that are not safe; ill-formed strings; the name
 *  `__proto__`; anything deeper than `plainDepthMax`. */
export function parsePlain(input: unknown): Plain {
  return plainAt(input, 0)
}

/** A slice of a pool of 8 KiB or more that is never written again: who keeps it for long copies it.
 *  REQUIRES: `value` is what `parsePlain` gives or could give; not checked here, since the nodes of
 *  every commit pass. */
export function encode(value: Plain): Buffer {
  return packr.pack(value)
}

/** Throws ECORRUPT if `bytes` are not exactly one msgpack value. Byte strings are views of `bytes`. */
export function decode(bytes: Uint8Array): unknown {
  try {
    return packr.unpack(bytes)
  } catch (cause) {
    throw new TailraceError('ECORRUPT', 'not a msgpack value', { cause })
  }
}

/** All values that stand one after the other in `bytes`. Throws ECORRUPT as `decode`. */
export function decodeAll(bytes: Uint8Array): unknown[] {
  if (bytes.length === 0) return []
  try {
    const values = packr.unpackMultiple(bytes)
    return Array.isArray(values) ? values : []
  } catch (cause) {
    throw new TailraceError('ECORRUPT', 'not a run of msgpack values', { cause })
  }
}

/** Frames of the wire: objects by name are fine there (nothing is hashed). A slice, as `encode`. */
export function encodeFrame(value: unknown): Uint8Array {
  return packr.pack(value)
}

function plainAt(input: unknown, depth: number): Plain {
  if (input === null || typeof input === 'boolean' || input instanceof Uint8Array) return input
  if (typeof input === 'number') return checkedNumber(input)
  if (typeof input === 'string') return checkedString(input)
  if (typeof input !== 'object') throw refused(`a ${typeof input}`)
  if (depth === plainDepthMax) throw refused(`more than ${plainDepthMax} levels`)
  if (Array.isArray(input)) return input.map((item) => plainAt(item, depth + 1))
  const plain = new Map<string, Plain>()
  for (const [name, value] of entriesOf(input)) {
    if (name === '__proto__') throw refused('the name __proto__')
    plain.set(checkedString(name), plainAt(value, depth + 1))
  }
  return plain
}

function entriesOf(input: object): Iterable<[unknown, unknown]> {
  if (input instanceof Map) return input
  const prototype: unknown = Object.getPrototypeOf(input)
  if (prototype !== Object.prototype && prototype !== null) throw refused('an object of a class')
  return Object.entries(input)
}

function checkedNumber(input: number): number {
  if (!Number.isFinite(input)) throw refused(String(input))
  if (Number.isInteger(input) && !Number.isSafeInteger(input)) {
    throw refused(`the integer ${input}, which is above 2^53 (send it as a string)`)
  }
  return input
}

function checkedString(input: unknown): string {
  if (typeof input !== 'string') throw refused('a name that is not a string')
  if (!input.isWellFormed()) throw refused('a string with half a surrogate pair')
  return input
}

function refused(what: string): TailraceError {
  return new TailraceError('EINVAL', `a stored value may not hold ${what}`)
}
