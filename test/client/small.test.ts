/** What of a request goes into a frame: what means the same in msgpack and in JSON, and is small. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decode, encodeFrame } from '../../src/blob/codec.js'
import { callArgsOf, smallSizeMax } from '../../src/client/small.js'

describe('callArgsOf', () => {
  it('says in msgpack what JSON says', () => {
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
    fc.assert(
      fc.property(plain, (args) => {
        delete args['namespace']
        const said = callArgsOf({ ...args })
        if (said === undefined) return
        const json = JSON.parse(
          JSON.stringify(args, (_, value) => (Object.is(value, -0) ? 0 : value)),
        )
        expect(decode(encodeFrame(said.body))).toEqual(json)
      }),
    )
  })

  it.each([
    ['text that is not well formed', { key: 'a\ud800' }],
    ['such text as a namespace', { namespace: '\udc00', key: 'a' }],
    ['NaN', { at: Number.NaN }],
    ['Infinity', { at: Number.POSITIVE_INFINITY }],
    ['a bigint', { at: 1n }],
    ['a function', { at: () => {} }],
    ['an object of a class', { at: new Date(0) }],
    ['a symbol deep down', { ops: [{ key: Symbol('a') }] }],
  ])('leaves %s to HTTP', (_, args) => {
    expect(callArgsOf(args)).toBeUndefined()
  })

  it('leaves what is large to HTTP, in one value or in many', () => {
    const small = { key: 'k', value: new Uint8Array(smallSizeMax - 100) }
    expect(callArgsOf(small)?.body).toEqual(small)
    expect(callArgsOf({ key: 'k', value: new Uint8Array(smallSizeMax) })).toBeUndefined()
    expect(callArgsOf({ key: 'x'.repeat(smallSizeMax) })).toBeUndefined()
    expect(callArgsOf({ keys: Array(smallSizeMax / 8).fill('') })).toBeUndefined()
  })

  it('copies bytes, also those of a Buffer, and leaves out what is undefined', () => {
    const value = Buffer.from('mine')
    const said = callArgsOf({ namespace: 'n', value, minSeq: undefined })
    value.fill('x')
    expect(said).toMatchObject({
      namespace: 'n',
      body: { value: new Uint8Array(Buffer.from('mine')) },
    })
  })
})
