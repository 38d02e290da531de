/** msgpack, canonical: golden bytes, the round trip, and what may not be stored. See rfc/3. */

import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { Packr } from 'msgpackr'
import { expect, test } from 'vitest'
import { decode, decodeAll, encode, encodeFrame, type Plain } from '../../src/blob/codec.js'

const golden: readonly (readonly [string, Plain, string])[] = [
  ['null', null, 'c0'],
  ['true', true, 'c3'],
  ['0', 0, '00'],
  ['-0', -0, '00'],
  ['127', 127, '7f'],
  ['128', 128, 'cc80'],
  ['65,536', 65_536, 'ce00010000'],
  ['-1', -1, 'ff'],
  ['-33', -33, 'd0df'],
  ['-2^31', -(2 ** 31), 'd280000000'],
  ['-2^31 - 1, a float64', -(2 ** 31) - 1, 'cbc1e0000000200000'],
  ['2^32 - 1', 2 ** 32 - 1, 'ceffffffff'],
  ['2^32, a float64', 2 ** 32, 'cb41f0000000000000'],
  ['the largest safe integer', Number.MAX_SAFE_INTEGER, 'cb433fffffffffffff'],
  ['1.5', 1.5, 'cb3ff8000000000000'],
  ['a string', 'aé', 'a361c3a9'],
  ['a string of 32 bytes', 'x'.repeat(32), `d920${'78'.repeat(32)}`],
  ['bytes', Buffer.from([1, 2]), 'c4020102'],
  ['256 bytes', Buffer.alloc(256), `c50100${'00'.repeat(256)}`],
  ['an array', [1, 'b', []], '9301a16290'],
  ['16 items', Array.from({ length: 16 }, () => 0), `dc0010${'00'.repeat(16)}`],
]

test.each(golden)('encode() of %s gives the golden bytes', (_name, value, hex) => {
  expect(encode(value).toString('hex')).toBe(hex)
})

test.each(golden)('decode() gives %s back', (_name, value, hex) => {
  expect(decode(Buffer.from(hex, 'hex'))).toEqual(asDecoded(value))
})

const plain: fc.Arbitrary<Plain> = fc.letrec<{ plain: Plain }>((tie) => ({
  plain: fc.oneof(
    { maxDepth: 4 },
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger().map((integer) => integer + 0),
    fc.double({ noNaN: true, noDefaultInfinity: true, noInteger: true }),
    fc.string({ unit: 'binary', maxLength: 80 }),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie('plain'), { maxLength: 20 }),
  ),
})).plain

test('decode() of encode() gives the value', () => {
  fc.assert(
    fc.property(plain, (value) => {
      expect(decode(encode(value))).toEqual(asDecoded(value))
    }),
  )
})

/** Another encoder and decoder of msgpack. All stores before ours was written were written by it. */
const other = new Packr({
  useRecords: false,
  variableMapSize: true,
  int64AsType: 'auto' as 'bigint',
})
const name = fc
  .string({ unit: 'binary', maxLength: 40 })
  .filter((each) => each !== '__proto__' && each.isWellFormed())
const frame = fc.letrec<{ frame: unknown }>((tie) => ({
  frame: fc.oneof(
    { maxDepth: 4 },
    plain,
    fc.dictionary(name, tie('frame'), { maxKeys: 20 }),
    fc.array(tie('frame'), { maxLength: 20 }),
  ),
})).frame
/** Values at the lengths where the form changes. */
const lengths = [0, 15, 16, 31, 32, 0xff, 0x100, 0xffff, 0x1_0000]
const long = lengths.flatMap((length) => [
  'x'.repeat(length),
  `ü${'x'.repeat(length)}`,
  Buffer.alloc(length, 7),
  Array<number>(length).fill(7),
  Object.fromEntries(Array.from({ length }, (_, at) => [`${at}`, at])),
])

test('another encoder gives the same bytes, and another decoder reads them', () => {
  fc.assert(
    fc.property(frame, (value) => {
      const bytes = encodeFrame(value)
      expect(Buffer.compare(bytes, other.pack(value))).toBe(0)
      expect(other.unpack(bytes)).toEqual(decode(bytes))
    }),
  )
})

test('another encoder gives the same bytes for values of every length', () => {
  for (const value of long) {
    const bytes = encodeFrame(value)
    expect(Buffer.compare(bytes, other.pack(value))).toBe(0)
    expect(isDeepStrictEqual(decode(bytes), value)).toBe(true)
  }
})

test('decode() reads what another encoder wrote, in longer forms too', () => {
  const wide = new Packr({ useRecords: false, useFloat32: 1, int64AsType: 'auto' as 'bigint' })
  const value = fc.oneof(frame, fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }))
  fc.assert(
    fc.property(fc.array(value, { maxLength: 5 }), (values) => {
      const bytes = wide.pack(values)
      expect(decode(bytes)).toEqual(wide.unpack(bytes))
    }),
  )
})

test('decode() of any bytes gives a value or throws ECORRUPT', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      try {
        decode(bytes)
      } catch (error) {
        expect(error).toMatchObject({ code: 'ECORRUPT' })
      }
    }),
    { numRuns: 1_000 },
  )
})

test('equal values have equal bytes, whatever was encoded before', () => {
  fc.assert(
    fc.property(plain, plain, (value, other) => {
      const once = Buffer.from(encode(value))
      encode(other)
      expect(encode(structuredClone(value)).equals(once)).toBe(true)
    }),
  )
})

test('decodeAll() gives every value of a run, and none of an empty one', () => {
  fc.assert(
    fc.property(fc.array(plain, { maxLength: 5 }), (values) => {
      const run = Buffer.concat(values.map((value) => encode(value)))
      expect(decodeAll(run)).toEqual(values.map(asDecoded))
    }),
  )
})

test('what encode() gave is never written again', () => {
  const kept = Array.from({ length: 20_000 }, (_, index) => encode([index, `key-${index}`]))
  const isOther = (bytes: Uint8Array, index: number) =>
    !isDeepStrictEqual(decode(bytes), [index, `key-${index}`])
  expect(kept.filter(isOther)).toEqual([])
})

test.each([
  ['nothing', ''],
  ['a value and a byte', '0100'],
  ['half a string', 'a361'],
  ['half an array', '9301'],
  ['half an integer', 'ce0001'],
  ['an array of 4 billion', 'ddffffffff'],
])('decode() of %s throws ECORRUPT, and the next decode is right', (_name, hex) => {
  expect(() => decode(Buffer.from(hex, 'hex'))).toThrow(
    expect.objectContaining({ code: 'ECORRUPT' }),
  )
  expect(decode(Buffer.from('9301a16290', 'hex'))).toEqual([1, 'b', []])
})

test('decodeAll() of a run that is cut throws ECORRUPT', () => {
  expect(() => decodeAll(Buffer.from('0102a361', 'hex'))).toThrow(
    expect.objectContaining({ code: 'ECORRUPT' }),
  )
})

test('decode() of a million open arrays throws ECORRUPT', () => {
  expect(() => decode(Buffer.alloc(1_000_000, 0x91))).toThrow(
    expect.objectContaining({ code: 'ECORRUPT' }),
  )
  expect(decode(encode(['still', 1]))).toEqual(['still', 1])
})

test('decode() takes the 64-bit integers of other encoders', () => {
  expect(decode(Buffer.from('cf0000000100000000', 'hex'))).toBe(2 ** 32)
  expect(decode(Buffer.from('d3ffffffff00000000', 'hex'))).toBe(-(2 ** 32))
})

test('bytes in a decoded value are views of what was decoded', () => {
  const encoded = encode([Buffer.from('abc')])
  const [bytes] = decode(encoded) as [Uint8Array]
  expect(bytes.buffer).toBe(encoded.buffer)
})

test('decode() needs no Buffer', () => {
  const encoded = new Uint8Array(encode(['a', Buffer.from([1, 2]), 300]))
  expect(decode(encoded)).toEqual(['a', new Uint8Array([1, 2]), 300])
})

test('encodeFrame() takes objects by name', () => {
  const frame = encodeFrame({ id: 1, type: 'live' })
  expect(Buffer.from(frame).toString('hex')).toBe('82a2696401a474797065a46c697665')
  expect(decode(frame)).toEqual({ id: 1, type: 'live' })
})

test('names of fields come back as they were, whatever they are', () => {
  const names = ['__proto__', 'constructor', '1', '', 'ü', '\u{feff}', 'x'.repeat(300), 'id', 'di']
  const fields = Object.fromEntries(names.map((each, at) => [each, at]))
  for (let time = 0; time < 2; time++) {
    const back = decode(encodeFrame(fields)) as object
    expect(Object.entries(back)).toEqual(Object.entries(fields))
    expect(Object.getPrototypeOf(back)).toBe(Object.prototype)
  }
})

test('a name that is no text is refused', () => {
  expect(() => decode(Buffer.from('810102', 'hex'))).toThrow(
    expect.objectContaining({ code: 'ECORRUPT' }),
  )
})

test('fields that are undefined are left out; in a list it is null', () => {
  expect(decode(encodeFrame({ a: undefined, b: [undefined, 1] }))).toEqual({ b: [null, 1] })
  // Another encoder has an extension for it.
  expect(decode(Buffer.from('92d4000001', 'hex'))).toEqual([undefined, 1])
})

test('a frame has as much room in front of it as was asked for', () => {
  fc.assert(
    fc.property(frame, fc.nat({ max: 255 }), (value, room) => {
      const bytes = encodeFrame(value, { room })
      expect(decode(bytes.subarray(room))).toEqual(decode(encodeFrame(value)))
      bytes.fill(0xc1, 0, room)
      expect(decode(bytes.subarray(room))).toEqual(decode(encodeFrame(value)))
    }),
  )
})

test('what cannot be said in msgpack is a TypeError, and the next value is right', () => {
  for (const value of [1n, () => {}, Symbol('a')]) {
    expect(() => encodeFrame(['x'.repeat(9_000), value])).toThrow(TypeError)
    expect(decode(encode(['still', 1]))).toEqual(['still', 1])
  }
})

/** All bytes become Buffers, and -0 is 0. */
function asDecoded(value: Plain): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value)
  if (Array.isArray(value)) return value.map(asDecoded)
  return value === 0 ? 0 : value
}
