/** Bytes in parts: joined, cut into pieces, and gathered from a stream.
 *  Invariant: what is joined or gathered here has memory of its own, which begins where the bytes do. So
 *  the items of typed arrays are aligned, and no other value is in the same ArrayBuffer. */

import type { Parts } from '../api/value.js'

/** The bytes that are given to a stream at a time: who takes them may copy them. */
const pieceSize = 256 * 1024

/** Returns a copy of the parts. */
export function joined(parts: Parts): Uint8Array {
  const whole = new Uint8Array(sizeOf(parts))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** Returns the number of bytes of the parts. */
export function sizeOf(parts: Parts): number {
  return parts.reduce((sum, { length }) => sum + length, 0)
}

/** Yields the bytes of the parts in pieces, which are views of them. */
export function* piecesOf(parts: Parts): Generator<Uint8Array> {
  for (const part of parts) {
    for (let at = 0; at < part.length; at += pieceSize) yield part.subarray(at, at + pieceSize)
  }
}

/** Returns so many bytes, the first of which are there. Returns their number if there are more or fewer. */
export async function gather(
  size: number,
  { first, rest }: { readonly first: Parts; readonly rest: AsyncIterator<Uint8Array> },
): Promise<Uint8Array | number> {
  const bytes = new Uint8Array(size)
  let at = 0
  const add = (chunk: Uint8Array) => {
    if (at + chunk.length <= size) bytes.set(chunk, at)
    at += chunk.length
  }
  for (const chunk of first) add(chunk)
  for (;;) {
    const { value, done } = await rest.next()
    if (done) return at === size ? bytes : at
    add(value)
  }
}
