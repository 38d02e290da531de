/** checkFrameBounds(): it counts what a decoder would make, whatever the encoding, and leaves the rest to it. */

import fc from 'fast-check'
import { expect, it } from 'vitest'
import { jsonNamesMax, jsonValuesMax } from '../../src/base/json.js'
import { encodeFrame } from '../../src/blob/codec.js'
import { checkFrameBounds } from '../../src/wire/messages.js'

const tooMany = expect.objectContaining({ code: 'E2BIG' })

it('passes over values of every kind and length, so that what follows is counted', () => {
  const long = fc.integer({ min: 0, max: 70_000 })
  const value = fc.oneof(
    fc.jsonValue(),
    fc.double(),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    long.map((length) => 'x'.repeat(length)),
    long.map((length) => new Uint8Array(length)),
    long.map((length) => new Array(length).fill(-1)),
  )
  fc.assert(
    fc.property(fc.array(value, { maxLength: 3 }), (values) => {
      expect(() => checkFrameBounds(encodeFrame(values))).not.toThrow()
      const followed = encodeFrame([values, new Array(jsonValuesMax).fill(1)])
      expect(() => checkFrameBounds(followed)).toThrow(tooMany)
    }),
    { numRuns: 30 },
  )
})

it('takes as many values and names as the bounds say, and no more', () => {
  const values = (count: number) => encodeFrame(new Array(count - 1).fill(null))
  const names = (count: number) =>
    encodeFrame(Object.fromEntries(Array.from({ length: count }, (_, at) => [String(at), 0])))
  for (const [of, max] of [
    [values, jsonValuesMax],
    [names, jsonNamesMax],
  ] as const) {
    expect(() => checkFrameBounds(of(max))).not.toThrow()
    expect(() => checkFrameBounds(of(max + 1))).toThrow(tooMany)
  }
})

it('throws nothing else, whatever the bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        checkFrameBounds(bytes)
      } catch (error) {
        expect(error).toEqual(tooMany)
      }
    }),
  )
})
