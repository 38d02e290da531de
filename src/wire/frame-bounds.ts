/** How much a message of msgpack may hold, looked at before it is decoded. See rfc/12, rules 5 and 33.
 *  Invariant: what passes is decoded in milliseconds, however many bytes it has. */

import { jsonNamesMax, jsonValuesMax } from '../base/json.js'
import { TailraceError } from '../error.js'

/** Bytes behind the first byte of 0xc0 to 0xdf, but for what follows a length: msgpack's table of formats. */
const fixed: readonly number[] = [
  ...[0, 0, 0, 0, 1, 2, 4, 2, 3, 5, 4, 8, 1, 2, 4, 8],
  ...[1, 2, 4, 8, 2, 3, 5, 9, 17, 1, 2, 4, 2, 4, 2, 4],
]
/** Where a length says how many bytes follow, it has so many bytes. */
const lengths = new Map([
  ...[0xc4, 0xc7, 0xd9].map((byte) => [byte, 1] as const),
  ...[0xc5, 0xc8, 0xda].map((byte) => [byte, 2] as const),
  ...[0xc6, 0xc9, 0xdb].map((byte) => [byte, 4] as const),
])

/** Bounds as JSON has them (`jsonValuesMax`, `jsonNamesMax`). Throws E2BIG. What is no msgpack is left to the
 *  decoder. */
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
      const width = lengths.get(first)
      at += (fixed[first - 0xc0] ?? 0) + (width === undefined ? 0 : count(at, width))
    }
    // A name counts as a value in the loop, but not for the bound.
    if (values - names > jsonValuesMax || names > jsonNamesMax) {
      const most = `${jsonValuesMax} values and ${jsonNamesMax} names`
      throw new TailraceError('E2BIG', `a frame has more than ${most}: send it in parts`)
    }
  }
}
