/** Encodes frames as messages of `tailrace.v1`, which are msgpack. See rfc/12, rules 10 and 15.
 *  Runs in browsers too.
 *  Invariant: what one end encodes the other end decodes to an equal frame. */

import { invalid } from '../base/shape.js'
import { decode, encodeFrame } from '../blob/codec.js'
import type { RequestFrame, ResponseFrame } from './frames.js'

/** The size of data, in bytes, from which a frame is sent as two fragments, head and data. Below
 *  it, copying the data is cheaper than a second fragment. */
export const splitSize = 64 * 1024

const nothing = new Uint8Array(0)

/** Encodes a frame as one message. Fields that are undefined are left out. */
export function packFrame(frame: RequestFrame | ResponseFrame): Uint8Array {
  return encodeFrame(frame)
}

/** Decodes a message. The frame is not checked yet: give it to `parseRequest` or `parseResponse`.
 *  Its bytes are views of the message. Throws EINVAL if the message is not msgpack. */
export function unpackFrame(message: Uint8Array): unknown {
  try {
    return decode(message)
  } catch (cause) {
    throw invalid(`a frame must be one msgpack map: ${reasonOf(cause)}`)
  }
}

/** Encodes a frame as two fragments of one message: everything but the data, and the data itself,
 *  which is not copied. REQUIRES: `data` is the last field of the frame. */
export function splitFrame(
  frame: ResponseFrame & { readonly data?: Uint8Array },
): readonly [Uint8Array, Uint8Array] {
  const { data = nothing, ...rest } = frame
  // A frame whose data is empty ends with the header of empty bytes, c4 00. Replace that header.
  const empty = encodeFrame({ ...rest, data: nothing })
  const header = binHeader(data.length)
  const head = new Uint8Array(empty.length - 2 + header.length)
  head.set(empty.subarray(0, empty.length - 2))
  head.set(header, empty.length - 2)
  return [head, data]
}

/** Makes msgpack's header of bytes: bin 8, bin 16 or bin 32, whichever is the shortest. */
function binHeader(length: number): Uint8Array {
  if (length < 0x100) return Uint8Array.of(0xc4, length)
  if (length < 0x1_0000) return Uint8Array.of(0xc5, length >>> 8, length & 0xff)
  return Uint8Array.of(
    0xc6,
    length >>> 24,
    (length >>> 16) & 0xff,
    (length >>> 8) & 0xff,
    length & 0xff,
  )
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
