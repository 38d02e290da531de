/** Names of blobs and nodes against the official BLAKE3 vectors. See rfc/3. */

import { hash } from 'blake3-wasm'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hashBlob, hashNode } from '../../src/blob/hash.js'
import { nativeHash, nativeSizeMin } from '../../src/blob/native-hash.js'
import { inputOf, vectors } from './vectors.js'

test.each(vectors)(
  'hashBlob() and hashNode() of %i bytes give the vector',
  (length, blob, node) => {
    const input = inputOf(length)
    expect(hashBlob(input)).toBe(`blake3-${blob}`)
    expect(hashNode(input)).toBe(`blake3-${node}`)
  },
)

const wasm = (bytes: Uint8Array): Buffer => Buffer.from(hash(bytes))
// Where the system has no native build, wasm is what names blobs, and these compare it with itself.
const native = nativeHash(wasm) ?? wasm

test.each(vectors)(
  'wasm and native code, each alone, give the vector of %i bytes',
  (length, blob) => {
    const input = inputOf(length)
    expect(wasm(input).toString('hex')).toBe(blob)
    expect(native(input).toString('hex')).toBe(blob)
  },
)

test('wasm and native code agree on any bytes, views included', () =>
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 3 * nativeSizeMin, size: 'max' }),
      fc.nat({ max: 64 }),
      (bytes, start) => {
        const view = bytes.subarray(Math.min(start, bytes.length))
        expect(native(view).equals(wasm(view))).toBe(true)
      },
    ),
    { numRuns: 200 },
  ))

test('native code that disagrees with wasm is not used', () => {
  expect(nativeHash(() => Buffer.alloc(32))).toBeUndefined()
})

test('hashBlob() of a view sees the bytes of the view only', () => {
  const whole = inputOf(1025)
  const padded = Buffer.concat([Buffer.alloc(7, 1), whole, Buffer.alloc(9, 2)])
  expect(hashBlob(padded.subarray(7, 7 + 1025))).toBe(hashBlob(whole))
  expect(hashNode(padded.subarray(7, 7 + 1025))).toBe(hashNode(whole))
})

test('a blob and a node of the same bytes have different names', () => {
  for (const [length] of vectors)
    expect(hashBlob(inputOf(length))).not.toBe(hashNode(inputOf(length)))
})
