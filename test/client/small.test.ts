/** What of a request goes into a frame: what means the same in msgpack and in JSON, and is small. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { jsonNamesMax, jsonValuesMax } from '../../src/base/json.js'
import { decode, encodeFrame } from '../../src/blob/codec.js'
import { copyOf, smallSizeMax, smallSizeOf } from '../../src/client/small.js'

const plain = fc.object({
  maxDepth: 3,
  values: [
    fc.string({ unit: 'binary' }),
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.boolean(),
    fc.constant(null),
    fc.constant(undefined),
  ],
})

describe('smallSizeOf', () => {
  it('takes what a frame says as JSON says it', () => {
    fc.assert(
      fc.property(plain, (args) => {
        if (smallSizeOf(args) === undefined) return
        const json = JSON.parse(
          JSON.stringify(args, (_, value) => (Object.is(value, -0) ? 0 : value)),
        )
        expect(decode(encodeFrame(args))).toEqual(json)
      }),
    )
  })

  it.each([
    ['text that is not well formed', { key: 'a\ud800' }],
    ['such text as a name', { env: { '\udc00': 'a' } }],
    ['NaN', { at: Number.NaN }],
    ['Infinity', { at: Number.POSITIVE_INFINITY }],
    ['a bigint', { at: 1n }],
    ['a function', { at: () => {} }],
    ['an object of a class', { at: new Date(0) }],
    ['undefined in a list', { keys: [undefined] }],
    ['a symbol deep down', { ops: [{ key: Symbol('a') }] }],
  ])('leaves %s to HTTP', (_, args) => {
    expect(smallSizeOf(args)).toBeUndefined()
  })

  it('leaves what is large to HTTP, in one value, in many, and in names', () => {
    const small = { key: 'k', value: new Uint8Array(smallSizeMax - 100) }
    expect(smallSizeOf(small)).toBeGreaterThan(small.value.length)
    expect(smallSizeOf({ key: 'k', value: new Uint8Array(smallSizeMax) })).toBeUndefined()
    expect(smallSizeOf({ key: 'x'.repeat(smallSizeMax) })).toBeUndefined()
    expect(smallSizeOf({ keys: Array(smallSizeMax / 8).fill('') })).toBeUndefined()
    expect(smallSizeOf({ ['x'.repeat(smallSizeMax)]: 1 })).toBeUndefined()
    const circle: Record<string, unknown> = {}
    circle['circle'] = circle
    expect(smallSizeOf(circle)).toBeUndefined()
  })

  it('takes no more values and names than the server does', () => {
    const most = Math.min(jsonValuesMax, jsonNamesMax)
    for (const args of [
      { keys: Array(most).fill(null) },
      Object.fromEntries(Array.from({ length: most }, (_, at) => [`${at}`, null])),
    ]) {
      expect(smallSizeOf(args)).toBeUndefined()
    }
  })
})

describe('copyOf', () => {
  it('is equal, and shares nothing', () => {
    fc.assert(
      fc.property(plain, (args) => {
        expect(copyOf(args)).toEqual(args)
      }),
    )
    const value = Buffer.from('mine')
    const given = { ops: [{ key: 'k', value }], guards: undefined }
    const copy = copyOf(given)
    value.fill('x')
    given.ops.pop()
    expect(copy.ops).toEqual([{ key: 'k', value: new Uint8Array(Buffer.from('mine')) }])
  })

  it('keeps every name', () => {
    const given = Object.fromEntries([['__proto__', 1]])
    expect(Object.entries(copyOf(given))).toEqual([['__proto__', 1]])
  })
})
