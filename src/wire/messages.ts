/** Encodes frames as messages of a websocket, in both subprotocols, and checks the bounds of a
 *  msgpack message before it is decoded. See rfc/12, rules 5, 10, 15 and 33. Runs in browsers too.
 *  Invariant: what one end encodes the other end decodes to an equal frame. A message that passes
 *  the check is decoded in milliseconds, whatever its size in bytes. */

import { jsonNamesMax, jsonValuesMax, parseJson } from '../base/json.js'
import { invalid } from '../base/shape.js'
import { decode, encodeFrame } from '../blob/codec.js'
import { reasonOf, TailraceError } from '../error.js'
import { toJson } from './bytes.js'
import {
  type RequestFrame,
  type ResponseFrame,
  requestIdOf,
  subprotocol,
  type subprotocolJson,
} from './frames.js'

/** A message: text is JSON, bytes are msgpack. */
export type Message = string | Uint8Array
/** The name of a subprotocol. */
export type Subprotocol = typeof subprotocol | typeof subprotocolJson

/** Encodes a frame as one message. Fields that are undefined are left out. */
export function encodeMessage(frame: RequestFrame | ResponseFrame, protocol: Subprotocol): Message {
  return protocol === subprotocol ? packFrame(frame) : JSON.stringify(toJson(frame))
}

/** Decodes a message. The frame is not checked yet: give it to `parseRequest` or `parseResponse`,
 *  whose schemas also turn `{base64}` into bytes. Throws EINVAL. */
export function decodeMessage(message: Message): unknown {
  if (typeof message === 'string') return parseJson(message, 'a frame')
  return unpackFrame(message)
}

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

/** Returns a message of msgpack with `room` free bytes in front of it. Fields that are undefined are
 *  left out. */
export function packWithRoom(frame: ResponseFrame, room: number): Uint8Array {
  return encodeFrame(frame, { room })
}

/** A frame without its id, encoded once for all who send it: only the ids of their frames differ. */
export type SharedFrame = {
  /** The first byte of the message, which has the number of fields. */
  readonly first: number
  /** All that stands between the id and the data. */
  readonly tail: Uint8Array
  /** The bytes at the end of the message. They are not copied. */
  readonly data: Uint8Array
}

/** A response without its id. */
export type Unaddressed<Frame> = Frame extends unknown ? Omit<Frame, 'id'> : never

/** The bytes of a message before its id is known: one byte, which has the number of fields, and the
 *  name `id`. */
const idName = 4
const nothing = new Uint8Array(0)

/** Encodes a frame that several will send. REQUIRES: `data`, if there is any, is the last field. */
export function shareFrame(
  frame: Unaddressed<ResponseFrame> & { readonly data?: Uint8Array },
): SharedFrame {
  const { data, ...rest } = frame
  // The id 0 takes one byte. A frame whose data is empty ends with the header of empty bytes, c4 00:
  // the header of the data takes its place.
  const bytes = encodeFrame({ id: 0, ...rest, ...(data && { data: nothing }) })
  const [first = 0] = bytes
  if (!data) return { first, tail: new Uint8Array(bytes.subarray(idName + 1)), data: nothing }
  const header = binHeader(data.length)
  const fields = bytes.subarray(idName + 1, -2)
  const tail = new Uint8Array(fields.length + header.length)
  tail.set(fields)
  tail.set(header, fields.length)
  return { first, tail, data }
}

/** Returns the beginning of a message up to its id, with `room` free bytes in front of it. */
export function headOfShared({ first }: SharedFrame, id: number, room: number): Uint8Array {
  const head = encodeFrame({ id }, { room })
  head[room] = first
  return head
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

/** The number of bytes that follow a first byte of 0xc0 to 0xdf, from msgpack's table of formats.
 *  Bytes counted by a length field are not included. */
const fixed: readonly number[] = [
  ...[0, 0, 0, 0, 1, 2, 4, 2, 3, 5, 4, 8, 1, 2, 4, 8],
  ...[1, 2, 4, 8, 2, 3, 5, 9, 17, 1, 2, 4, 2, 4, 2, 4],
]
/** The width of the length field, in bytes, of the formats 0xc0 to 0xdf that count their bytes with
 *  one; 0 for the others. */
const lengthWidths: readonly number[] = [
  ...[0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 0, 0, 0, 0, 0, 0],
  ...[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 0, 0, 0, 0],
]

/** Throws E2BIG if a message has more than `jsonValuesMax` values or `jsonNamesMax` names, the same
 *  bounds as for JSON. Bytes that are not msgpack are left to the decoder, which refuses them. */
export function checkFrameBounds(bytes: Uint8Array): void {
  let values = 1
  let names = 0
  for (let at = 0, read = 0; at < bytes.length && read < values; read++) {
    const first = bytes[at] ?? 0
    at++
    if (first >= 0x80 && first < 0x90) {
      names += first & 0x0f
      values += 2 * (first & 0x0f)
    } else if (first >= 0x90 && first < 0xa0) values += first & 0x0f
    else if (first >= 0xa0 && first < 0xc0) at += first & 0x1f
    else if (first === 0xdc || first === 0xdd) values += countAt(bytes, at, first === 0xdc ? 2 : 4)
    else if (first === 0xde || first === 0xdf) {
      const size = countAt(bytes, at, first === 0xde ? 2 : 4)
      names += size
      values += 2 * size
    }
    if (first >= 0xc0 && first < 0xe0) {
      const width = lengthWidths[first - 0xc0] ?? 0
      at += (fixed[first - 0xc0] ?? 0) + (width === 0 ? 0 : countAt(bytes, at, width))
    }
    // `values` also counts the names, so that the loop steps over them. The bound does not.
    if (values - names > jsonValuesMax || names > jsonNamesMax) {
      const most = `${jsonValuesMax} values and ${jsonNamesMax} names`
      throw new TailraceError('E2BIG', `a frame has more than ${most}: send it in parts`)
    }
  }
}

/** Returns the unsigned integer of `width` bytes at `at`; 0 if the bytes end before. */
function countAt(bytes: Uint8Array, at: number, width: number): number {
  if (at + width > bytes.length) return 0
  let count = 0
  for (let index = at; index < at + width; index++) count = count * 256 + (bytes[index] ?? 0)
  return count
}

/** The number of characters of a text in which its id is looked for. */
const idNear = 100
/** The widths of msgpack's integers that an id may have, in bytes, by their first byte. */
const idWidths = new Map([
  [0xcc, 1],
  [0xcd, 2],
  [0xce, 4],
  [0xcf, 8],
  [0xd3, 8],
])

/** Returns the id of a message that was not decoded, for the answer to one that is too large to be.
 *  Returns 0 unless the id is the first field of the frame, as it is in the frames of our client. */
export function idOfMessage(message: Message): number {
  if (typeof message !== 'string') return requestIdOf({ id: packedIdOf(message) })
  const [, id] = /^\s*\{\s*"id"\s*:\s*(\d+)\s*[,}]/.exec(message.slice(0, idNear)) ?? []
  return requestIdOf({ id: Number(id) })
}

function packedIdOf(bytes: Uint8Array): number | undefined {
  // Behind the head of the map its first name: a string of two bytes, "id".
  const at = bytes[0] === 0xde ? 3 : bytes[0] === 0xdf ? 5 : 1
  if (bytes[at] !== 0xa2 || bytes[at + 1] !== 0x69 || bytes[at + 2] !== 0x64) return undefined
  const first = bytes[at + 3] ?? 0xff
  if (first < 0x80) return first
  const width = idWidths.get(first)
  return width && countAt(bytes, at + 4, width)
}
