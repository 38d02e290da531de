/** Frames as messages of `tailrace.v1`: msgpack. See rfc/12, rule 10. Runs in browsers too.
 *  Invariant: what one end encodes the other decodes to an equal frame; bytes that a frame carries
 *  at its end are never copied into it above `splitSize`. */

import { invalid } from '../base/shape.js'
import { decode, encodeFrame } from '../blob/codec.js'
import type { RequestFrame, ResponseFrame } from './frames.js'

/** From this many bytes of data on, a frame is sent as head and data. Below, one copy is cheaper
 *  than a second fragment. */
export const splitSize = 64 * 1024

const nothing = new Uint8Array(0)

/** One message. Fields that are undefined are left out. */
export function packFrame(frame: RequestFrame | ResponseFrame): Uint8Array {
  return encodeFrame(frame)
}

/** A message's frame, not yet checked: give it to `parseRequest` or `parseResponse`. Bytes are views
 *  of the message. Throws EINVAL. */
export function unpackFrame(message: Uint8Array): unknown {
  try {
    return decode(message)
  } catch (cause) {
    throw invalid(`a frame must be one msgpack map: ${reasonOf(cause)}`)
  }
}

/** A frame of msgpack in two parts, to be sent one after the other as fragments of one message:
 *  everything but the data, and the data as they are. */
export function splitFrame(
  frame: ResponseFrame & { readonly data?: Uint8Array },
): readonly [Uint8Array, Uint8Array] {
  const { data = nothing, ...rest } = frame
  // The frame with empty bytes ends with their header, c4 00: the real one takes its place.
  const empty = encodeFrame({ ...rest, data: nothing })
  const header = binHeader(data.length)
  const head = new Uint8Array(empty.length - 2 + header.length)
  head.set(empty.subarray(0, empty.length - 2))
  head.set(header, empty.length - 2)
  return [head, data]
}

/** msgpack: bin 8, bin 16 or bin 32, whichever is the shortest. */
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
