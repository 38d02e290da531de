/** msgpack, canonical: the same value always gives the same, minimal, portable bytes. The only
 *  import of msgpackr. See rfc/3.
 *  Invariant: what is hashed or stored is arrays, strings, numbers, booleans, null and bytes; never
 *  objects by name, whose order and odd names do not survive (rfc/3 says which). */

import { Packr } from 'msgpackr'
import { TailraceError } from '../error.js'

const packr = new Packr({
  useRecords: false,
  variableMapSize: true,
  // A bigint where a number would not be exact. Its types leave this mode out.
  int64AsType: 'auto' as 'bigint',
})

/** What may be stored. REQUIRES: numbers are finite, and integers of consequence safe; strings are well
 *  formed (`isWellFormed`), or they come back as others. */
export type Plain = null | boolean | number | string | Uint8Array | readonly Plain[]

/** A slice of a pool of 8 KiB or more that is never written again: who keeps it for long copies it.
 *  What `Plain` requires is not checked here, where the nodes of every commit pass, but where keys,
 *  links and events come in. */
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
