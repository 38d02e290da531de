/** The bytes of packed values: heads, codecs, and what they refuse. See rfc/23, rules 1 to 4. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Codec, CodecName, Parts } from '../../src/api/value.js'
import { codecs } from '../../src/value/codecs.js'
import { checkHead, decodeHead, encodeHead } from '../../src/value/head.js'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const named = (name: CodecName): Codec => codecs[name]
const packed = (value: unknown, name: CodecName): Buffer => {
  const codec = named(name)
  return Buffer.concat([encodeHead(codec), ...codec.pack(value)] as Parts as Uint8Array[])
}
/** The value of bytes that begin at any offset of their memory. */
const unpacked = (bytes: Uint8Array, name: CodecName, offset = 0): unknown => {
  const moved = new Uint8Array(bytes.length + offset)
  moved.set(bytes, offset)
  const whole = moved.subarray(offset)
  const head = decodeHead(whole)
  if (!head) throw new Error('no head')
  expect(head.name).toBe(name)
  return named(name).unpack(whole.subarray(head.size), head.version)
}

describe('heads', () => {
  it('have the golden bytes of rfc/23', () => {
    expect(hex(packed(null, 'json'))).toBe('c10101046a736f6e6e756c6c')
    expect(hex(packed([1], 'msgpack'))).toBe('c10101076d73677061636b00000000009101')
  })

  it('end at a multiple of 8, and are read back', () => {
    fc.assert(
      fc.property(
        fc.stringMatching(/^[a-z0-9-]{1,32}$/),
        fc.integer({ min: 1, max: 255 }),
        (name, version) => {
          const bytes = encodeHead({ name, version })
          expect(bytes.length % 8).toBe(0)
          expect(decodeHead(bytes)).toEqual({ name, version, size: bytes.length })
          for (let cut = 0; cut < bytes.length; cut++) {
            expect(decodeHead(bytes.subarray(0, cut))).toBeUndefined()
          }
        },
      ),
    )
  })

  it.each([
    ['', 1],
    ['A', 1],
    ['a'.repeat(33), 1],
    ['a', 0],
    ['a', 256],
    ['a', 1.5],
  ])('refuse a codec that none can have: %j, %d', (name, version) => {
    expect(() => checkHead({ name, version })).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })

  it('are not seen in text or msgpack', () => {
    for (const text of ['{"a":1}', '\u00c1', ''])
      expect(decodeHead(Buffer.from(text))).toBeUndefined()
    expect(decodeHead(named('msgpack').pack({ a: 1 })[0] ?? new Uint8Array())).toBeUndefined()
  })
})

describe('codecs', () => {
  const common = fc
    .jsonValue({ noUnicodeString: false })
    .map((value) => JSON.parse(JSON.stringify(value)))

  it.each(['msgpack', 'json', 'clone'] as const)('%s gives plain values back', (name) => {
    fc.assert(
      fc.property(common, (value) => {
        // msgpack gives this name back as another one, as rfc/23 says: see below.
        fc.pre(name !== 'msgpack' || !JSON.stringify(value).includes('"__proto__"'))
        expect(unpacked(packed(value, name), name)).toEqual(value)
      }),
    )
  })

  it('msgpack has dates, bytes and bigints', () => {
    const value = { when: new Date(1_700_000_000_123), bytes: Buffer.from([1, 2]), big: 2n ** 62n }
    const back = unpacked(packed(value, 'msgpack'), 'msgpack') as typeof value
    expect(back.when).toEqual(value.when)
    expect(hex(back.bytes)).toBe('0102')
    expect(BigInt(back.big)).toBe(value.big)
  })

  it('msgpack gives some values back as what it has', () => {
    const value = {
      map: new Map([['a', 1]]),
      set: new Set([1]),
      nothing: undefined,
      ...(JSON.parse('{"of":{"__proto__":1}}') as object),
    }
    const back = unpacked(packed(value, 'msgpack'), 'msgpack')
    expect(back).toEqual({ map: { a: 1 }, set: [1], nothing: null, of: { __proto_: 1 } })
  })

  it('clone has maps, sets and cycles', () => {
    const value: { map: Map<string, Set<number>>; self?: unknown } = {
      map: new Map([['a', new Set([1])]]),
    }
    value.self = value
    const back = unpacked(packed(value, 'clone'), 'clone') as typeof value
    expect(back.map).toEqual(value.map)
    expect(back.self).toBe(back)
  })

  it('bytes and array copy nothing', () => {
    const bytes = Buffer.from([1, 2, 3])
    expect(named('bytes').pack(bytes)[0]).toBe(bytes)
    const numbers = new Float64Array([1, 2])
    expect(named('array').pack(numbers)[1]?.buffer).toBe(numbers.buffer)
    const stored = packed(numbers, 'array')
    const whole = new Uint8Array(stored) // as a read gives it: memory of its own
    const head = decodeHead(whole)
    const opened = named('array').unpack(whole.subarray(head?.size), 1) as Float64Array
    expect(opened.buffer).toBe(whole.buffer)
  })

  it.each([
    new Int8Array([-1, 2]),
    new Uint8Array([255]),
    new Uint8ClampedArray([7]),
    new Int16Array([-300, 5]),
    new Uint16Array([65_535]),
    new Int32Array([-5]),
    new Uint32Array([2 ** 32 - 1]),
    new Float32Array([0.5, Number.NaN]),
    new Float64Array([Math.PI, -0]),
    new BigInt64Array([-1n]),
    new BigUint64Array([2n ** 63n]),
    new Float64Array([]),
    new Float64Array([1, 2, 3]).subarray(1, 2),
  ])('array gives a typed array back, at any offset: %o', (value) => {
    for (const offset of [0, 1, 4, 8]) {
      const back = unpacked(packed(value, 'array'), 'array', offset)
      expect(back).toEqual(value)
      expect(back?.constructor).toBe(value.constructor)
    }
  })

  const nothing = (): void => {}
  it.each([
    ['msgpack', nothing],
    ['msgpack', { of: [nothing] }],
    ['json', undefined],
    ['json', nothing],
    ['bytes', 'text'],
    ['bytes', new Float64Array(1)],
    ['array', [1]],
    ['array', Buffer.from('x')],
    ['array', new DataView(new ArrayBuffer(1))],
    ['clone', nothing],
  ] as const)('%s refuses what it does not have: %o', (name, value) => {
    expect(() => named(name).pack(value)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })

  it('array refuses bytes that no typed array has', () => {
    const bytes = packed(new Float64Array([1]), 'array')
    expect(() => unpacked(bytes.subarray(0, bytes.length - 1), 'array')).toThrow()
    expect(() => named('array').unpack(Buffer.from([99, 0, 0, 0, 0, 0, 0, 0]), 1)).toThrow()
    expect(() => named('array').unpack(Buffer.from([1]), 1)).toThrow()
  })
})
