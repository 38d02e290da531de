/** Bounds on the number of values in a msgpack message, checked before the message is decoded.
 *  See rfc/12, rules 5 and 33.
 *  Invariant: a message that passes is decoded in milliseconds, whatever its size in bytes. */

import { jsonNamesMax, jsonValuesMax } from '../base/json.js'
import { TailraceError } from '../error.js'

/** The number of bytes that follow a first byte of 0xc0 to 0xdf, from msgpack's table of formats.
 *  Bytes counted by a length field are not included. */
const fixed: readonly number[] = [
  ...[0, 0, 0, 0, 1, 2, 4, 2, 3, 5, 4, 8, 1, 2, 4, 8],
  ...[1, 2, 4, 8, 2, 3, 5, 9, 17, 1, 2, 4, 2, 4, 2, 4],
]
/** The width of the length field, in bytes, of each format that counts its bytes with one. */
const lengthWidths = new Map([
  ...[0xc4, 0xc7, 0xd9].map((byte) => [byte, 1] as const),
  ...[0xc5, 0xc8, 0xda].map((byte) => [byte, 2] as const),
  ...[0xc6, 0xc9, 0xdb].map((byte) => [byte, 4] as const),
])

/** Throws E2BIG if a message has more than `jsonValuesMax` values or `jsonNamesMax` names, the same
 *  bounds as for JSON. Bytes that are not msgpack are left to the decoder, which refuses them. */
export function checkFrameBounds(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const count = (at: number, width: number) => {
    if (at + width > bytes.length) return 0
    if (width === 1) return view.getUint8(at)
    return width === 2 ? view.getUint16(at) : view.getUint32(at)
  }
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
    else if (first === 0xdc || first === 0xdd) values += count(at, first === 0xdc ? 2 : 4)
    else if (first === 0xde || first === 0xdf) {
      const size = count(at, first === 0xde ? 2 : 4)
      names += size
      values += 2 * size
    }
    if (first >= 0xc0 && first < 0xe0) {
      const width = lengthWidths.get(first)
      at += (fixed[first - 0xc0] ?? 0) + (width === undefined ? 0 : count(at, width))
    }
    // `values` also counts the names, so that the loop steps over them. The bound does not.
    if (values - names > jsonValuesMax || names > jsonNamesMax) {
      const most = `${jsonValuesMax} values and ${jsonNamesMax} names`
      throw new TailraceError('E2BIG', `a frame has more than ${most}: send it in parts`)
    }
  }
}
