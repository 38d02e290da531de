/** Packed actions: canonical bytes, and what is refused. See rfc/22, rules 1 to 4. */

import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { packAction } from '../../src/cache/action.js'
import { actionSizeMax, packedDepthMax, unpack } from '../../src/cache/packing.js'

const text = fc.string({ unit: 'grapheme' })
const leaf = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => (value === 0 ? 0 : value)),
  fc.maxSafeInteger(),
  fc.bigInt(),
  text,
  fc.uint8Array(),
)
const { action } = fc.letrec<{ action: unknown }>((tie) => ({
  action: fc.oneof(
    { maxDepth: 4 },
    leaf,
    fc.array(tie('action'), { maxLength: 5 }),
    fc.dictionary(text, tie('action'), { maxKeys: 5, noNullPrototype: true }),
  ),
}))

/** Few values, so that two of them are often equal. */
const { small } = fc.letrec<{ small: unknown }>((tie) => ({
  small: fc.oneof(
    { maxDepth: 2 },
    fc.constantFrom(null, 0, 1, '1', 1n, true, '', 'a'),
    fc.constantFrom(0, 1).map((byte) => Uint8Array.of(byte)),
    fc.array(tie('small'), { maxLength: 2 }),
    fc.dictionary(fc.constantFrom('a', 'b', '0', '1'), tie('small'), { noNullPrototype: true }),
  ),
}))

/** An equal value whose objects have their fields in another order, and one that is undefined. */
function shuffled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shuffled)
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Uint8Array) return Buffer.from(value)
  const copy: Record<string, unknown> = { leftOut: undefined }
  for (const [name, field] of Object.entries(value).reverse()) {
    const inner = { value: shuffled(field), enumerable: true, writable: true, configurable: true }
    Object.defineProperty(copy, name, inner)
  }
  return copy
}

const hex = (value: unknown) => Buffer.from(packAction(value).bytes).toString('hex')

describe('packAction()', () => {
  it('gives bytes that unpack() reads back', () => {
    fc.assert(
      fc.property(action, (value) => {
        expect(unpack(packAction(value).bytes, 'it')).toEqual(value)
      }),
    )
  })

  it('gives equal bytes whatever the order of the fields', () => {
    fc.assert(
      fc.property(action, (value) => {
        expect(packAction(shuffled(value))).toEqual(packAction(value))
      }),
    )
  })

  it('gives equal bytes to equal actions only', () => {
    let equals = 0
    fc.assert(
      fc.property(small, small, (a, b) => {
        const isEqual = isDeepStrictEqual(a, b)
        if (isEqual) equals++
        expect(hex(a) === hex(b)).toBe(isEqual)
        expect(packAction(a).id === packAction(b).id).toBe(isEqual)
      }),
      { numRuns: 2_000 },
    )
    expect(equals).toBeGreaterThan(10)
  })

  it('keeps kinds apart that look alike', () => {
    const alike = [
      1,
      '1',
      1n,
      [1],
      { 0: 1 },
      Uint8Array.of(1),
      true,
      [[1]],
      ['1'],
      [0, 1],
      [2, '1'],
    ]
    expect(new Set(alike.map((value) => packAction(value).id)).size).toBe(alike.length)
  })

  it.each([
    [null, 'c0'],
    [-0, '00'],
    [1.5, 'cb3ff8000000000000'],
    ['ä', 'a2c3a4'],
    [2n, '9202a132'],
    [[], '9101'],
    [{}, '9100'],
    [
      { code: 'a@1', inputs: [1, -0, 2n, Buffer.of(255)], b: null, '\u{1f600}': 1, '\uffff': 2 },
      '9b00a162c0a4636f6465a3614031a6696e70757473950101009202a132c401ffa3efbfbf02a4f09f988001',
    ],
  ])('has the golden bytes of rfc/22: %#', (value, bytes) => {
    expect(hex(value)).toBe(bytes)
  })

  it('has the golden id of rfc/22', () => {
    expect(packAction({ code: 'a@1', inputs: ['x'] }).id).toBe(
      '2c34576f67d271ae7989d6aa8ccdb3bbe7b1195677007d34c646d91759699218',
    )
  })

  it.each([
    [Number.NaN, 'action is NaN'],
    [{ a: [0, Number.POSITIVE_INFINITY] }, 'action.a[1] is Infinity'],
    [{ a: { when: new Date(0) } }, 'action.a.when is a Date: give value.toISOString()'],
    [{ a: new Map() }, 'action.a is a Map'],
    [{ a: new Set() }, 'action.a is a Set'],
    [{ a: new Float64Array(1) }, 'action.a is a typed array'],
    [{ a: new DataView(new ArrayBuffer(1)) }, 'action.a is a typed array'],
    [{ a: new ArrayBuffer(1) }, 'action.a is an ArrayBuffer'],
    [{ a: () => {} }, 'action.a is a function'],
    [{ a: Symbol('s') }, 'action.a is a symbol'],
    [[undefined], 'action[0] is undefined'],
    [Array(1), 'action[0] is undefined'],
    [{ a: Object.assign([1], { b: 2 }) }, 'action.a has fields beside its items'],
    [{ a: Object.assign([1], { [Symbol('s')]: 2 }) }, 'action.a has fields beside its items'],
    [{ a: Promise.resolve() }, 'action.a is a promise'],
    [{ 'a b': new (class Model {})() }, 'action["a b"] is of the class Model'],
    [{ a: new (class Path extends Array {})() }, 'action.a is of the class Path'],
    [{ a: Object.create({}) }, 'action.a is of the class Object'],
    [{ a: /x/ }, 'action.a is of the class RegExp'],
    [{ a: new Error('x') }, 'action.a is of the class Error'],
    [{ a: '\ud800' }, 'action.a is text with half a surrogate pair'],
    [{ a: { '\ud800': 1 } }, 'action.a has a name with half a surrogate pair'],
    [{ a: { [Symbol('s')]: 1 } }, 'action.a has a symbol as a name'],
    [undefined, 'action is undefined'],
  ])('refuses a value without a canonical form, with its path: %#', (value, message) => {
    expect(() => packAction(value)).toThrow(
      expect.objectContaining({ code: 'EINVAL', message: expect.stringContaining(message) }),
    )
  })

  it('refuses cycles, and takes a value that stands twice', () => {
    const shared = { x: 1 }
    expect(packAction({ a: shared, b: shared }).id).toBe(
      packAction({ a: { x: 1 }, b: { x: 1 } }).id,
    )
    const cycle: { self?: unknown } = {}
    cycle.self = [cycle]
    expect(() => packAction(cycle)).toThrow('action.self[0] is one of the values that it stands in')
  })

  it('has bounds of size and depth', () => {
    let deep: unknown = 0
    for (let at = 0; at < packedDepthMax; at++) deep = [deep]
    expect(unpack(packAction(deep).bytes, 'it')).toEqual(deep)
    expect(() => packAction([deep])).toThrow('is deeper than 64 levels')
    const head = 5
    expect(packAction('x'.repeat(actionSizeMax - head)).bytes.length).toBe(actionSizeMax)
    expect(() => packAction('x'.repeat(actionSizeMax - head + 1))).toThrow(
      expect.objectContaining({ code: 'E2BIG' }),
    )
  })
})

describe('unpack()', () => {
  it.each([
    ['nothing', ''],
    ['bytes behind the value', 'c0c0'],
    ['an array without a kind', '90'],
    ['an unknown kind', '9103'],
    ['a field without a value', '9200a161'],
    ['a bigint without digits', '9202a178'],
  ])('refuses %s with EINVAL', (_name, bytes) => {
    expect(() => unpack(Buffer.from(bytes, 'hex'), 'it')).toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    )
  })
})
