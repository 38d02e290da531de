/** msgpack, canonical: the same value always gives the same, minimal, portable bytes. The only
 *  import of msgpackr. See rfc/3.
 *  Invariant: what is hashed or stored is arrays, strings, numbers, booleans, null and bytes; never
 *  objects by name, whose order and odd names do not survive (rfc/3 says which). */

import { Packr } from 'msgpackr'
import { TailraceError } from '../error.js'

const packr = new Packr({ useRecords: false, variableMapSize: true })

/** What may be stored. Integers are safe integers; strings are well formed. */
export type Plain =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly Plain[]
  | ReadonlyMap<string, Plain>

/** A buffer of its own, never of a shared pool that is written again. */
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

/** Frames of the wire: objects by name are fine there (nothing is hashed). */
export function encodeFrame(value: unknown): Buffer {
  return packr.pack(value)
}
