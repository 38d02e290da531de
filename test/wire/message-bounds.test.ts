/** checkFrameBounds(): it counts what a decoder would make, whatever the encoding, and leaves the rest to it. */

import fc from 'fast-check'
import { Packr } from 'msgpackr'
import { expect, it } from 'vitest'
import { jsonNamesMax, jsonValuesMax } from '../../src/base/json.js'
import { encodeFrame } from '../../src/blob/codec.js'
import { subprotocol, subprotocolJson } from '../../src/wire/frames.js'
import { checkFrameBounds, encodeMessage, idOfMessage } from '../../src/wire/messages.js'

const tooMany = expect.objectContaining({ code: 'E2BIG' })
/** An encoder that has 64-bit integers too. */
const other = new Packr({ useRecords: false, variableMapSize: true })

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
      expect(() => checkFrameBounds(other.pack(values))).not.toThrow()
      const followed = other.pack([values, new Array(jsonValuesMax).fill(1)])
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

it('the id of a message is found in its first bytes, without the rest', () => {
  const ids = fc.oneof(
    fc.integer({ min: 1, max: 300 }),
    fc.integer({ min: 1, max: 2 ** 33 }),
    fc.constantFrom(0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 2 ** 32 - 1),
  )
  fc.assert(
    fc.property(ids, fc.nat({ max: 40 }), (id, more) => {
      const fields = Object.fromEntries(Array.from({ length: more }, (_, at) => [`f${at}`, at]))
      const frame = Object.assign({ id, op: 'txn', body: fields }, fields)
      for (const protocol of [subprotocol, subprotocolJson] as const) {
        const message = encodeMessage(frame, protocol)
        // A number of 2^32 or more is a float in msgpack, which is no id of a client that counts.
        if (id < 2 ** 32 || typeof message === 'string') expect(idOfMessage(message)).toBe(id)
      }
    }),
  )
  expect(idOfMessage(other.pack({ id: 2n ** 40n }))).toBe(2 ** 40)
  expect(idOfMessage(' { "id" : 17 , "op": "txn" }')).toBe(17)
})

it('a message whose first field is no id has none', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
      expect(Number.isSafeInteger(idOfMessage(bytes))).toBe(true)
    }),
  )
  for (const text of [
    '',
    '{',
    '[1]',
    '{"op":"txn","id":1}',
    '{"id":-1}',
    '{"id":1.5}',
    '{"id":"1"}',
  ]) {
    expect(idOfMessage(text), text).toBe(0)
  }
  for (const frame of [[1], { op: 'txn', id: 1 }, { id: 'x' }, { id: 0 }]) {
    expect(idOfMessage(encodeFrame(frame))).toBe(0)
  }
})
