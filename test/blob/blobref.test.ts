/** Blobrefs: one spelling, and their digests in bytes. See rfc/3. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  blobrefAt,
  blobrefOfHex,
  digestSize,
  parseBlobref,
  writeDigest,
} from '../../src/blob/blobref.js'

const hex = fc
  .uint8Array({ minLength: digestSize, maxLength: digestSize })
  .map((digest) => Buffer.from(digest).toString('hex'))

test('parseBlobref() takes what it gives', () => {
  fc.assert(
    fc.property(hex, (digits) => {
      expect(parseBlobref(`blake3-${digits}`)).toBe(blobrefOfHex(digits))
    }),
  )
})

const good = `blake3-${'0123456789abcdef'.repeat(4)}`

test.each<[string, unknown]>([
  ['upper case', good.toUpperCase()],
  ['an upper-case digit', good.replace('a', 'A')],
  ['one digit short', good.slice(0, -1)],
  ['one digit long', `${good}0`],
  ['a line feed behind it', `${good}\n`],
  ['a space before it', ` ${good}`],
  ['another hash', good.replace('blake3', 'sha256')],
  ['no digit', good.replace('0', 'g')],
  ['the empty string', ''],
  ['no string', 7],
  ['nothing', undefined],
  ['a list of one ref', [good]],
])('parseBlobref() of %s throws EINVAL', (_name, input) => {
  expect(() => parseBlobref(input)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
})

test('writeDigest() and blobrefAt() are inverse at any offset, and touch nothing beside it', () => {
  fc.assert(
    fc.property(hex, fc.nat({ max: 40 }), (digits, offset) => {
      const target = Buffer.alloc(offset + digestSize + 5, 0xee)
      writeDigest(blobrefOfHex(digits), target, offset)
      expect(blobrefAt(target, offset)).toBe(`blake3-${digits}`)
      expect(target.subarray(0, offset).every((byte) => byte === 0xee)).toBe(true)
      expect(target.subarray(offset + digestSize).every((byte) => byte === 0xee)).toBe(true)
    }),
  )
})

test('blobrefAt() reads a plain view of a bigger buffer', () => {
  const target = Buffer.alloc(100)
  writeDigest(parseBlobref(good), target, 50)
  const view = new Uint8Array(target.buffer, target.byteOffset + 40, 60)
  expect(blobrefAt(view, 10)).toBe(good)
})
