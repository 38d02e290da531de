/** Names of blobs and nodes against the official BLAKE3 vectors. See rfc/3. */

import { expect, test } from 'vitest'
import { hashBlob, hashNode } from '../../src/blob/hash.js'
import { inputOf, vectors } from './vectors.js'

test.each(vectors)(
  'hashBlob() and hashNode() of %i bytes give the vector',
  (length, blob, node) => {
    const input = inputOf(length)
    expect(hashBlob(input)).toBe(`blake3-${blob}`)
    expect(hashNode(input)).toBe(`blake3-${node}`)
  },
)

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
