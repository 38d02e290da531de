/** Canonical msgpack: equal values always have equal bytes, in the shortest form. See rfc/3, rules
 *  14 to 18.
 *  Invariant: a value that is hashed or stored has arrays, strings, numbers, booleans, null and
 *  bytes, and no objects: the order of their names would not survive. */

import { TailraceError } from '../error.js'
import { Packer } from './packer.js'
import { Unpacker } from './unpacker.js'

const packer = new Packer()
const unpacker = new Unpacker()

/** A value that may be stored. REQUIRES: numbers are finite, and integers are safe where they must
 *  come back exactly; strings are well formed (`isWellFormed`), or other strings come back. */
export type Plain = null | boolean | number | string | Uint8Array | readonly Plain[]

/** Returns the bytes of a value: a Buffer in Node. They are a slice of a pool of 8 KiB or more,
 *  which nobody writes again: copy them to keep them for long. The requirements of `Plain` are not
 *  checked here, since the nodes of every commit pass here; they are checked where keys, links and
 *  events come in. */
export function encode(value: Plain): Buffer {
  return packer.pack(value) as Buffer
}

/** Returns the value of `bytes`; byte strings in it are views of `bytes`. Throws ECORRUPT if
 *  `bytes` are not exactly one msgpack value. */
export function decode(bytes: Uint8Array): unknown {
  try {
    return unpacker.unpack(bytes)
  } catch (cause) {
    throw new TailraceError('ECORRUPT', 'not a msgpack value', { cause })
  }
}

/** Returns all values that stand one after the other in `bytes`; byte strings in them are views of
 *  `bytes`. Throws ECORRUPT if `bytes` are anything else. */
export function decodeAll(bytes: Uint8Array): unknown[] {
  try {
    return unpacker.unpackAll(bytes)
  } catch (cause) {
    throw new TailraceError('ECORRUPT', 'not a run of msgpack values', { cause })
  }
}

/** Returns the bytes of a frame of the wire, which may have objects, since it is neither hashed nor
 *  stored. Fields that are undefined are left out. The bytes are a slice of a pool, like those of
 *  `encode`. `room`: the number of bytes, below 256, that stand free in front of them in the result,
 *  for the head of a message. */
export function encodeFrame(value: unknown, { room } = { room: 0 }): Uint8Array {
  return packer.pack(value, room)
}
