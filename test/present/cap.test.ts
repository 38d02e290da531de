/** The bytes of what `meta` keeps of a log's cap: rfc/19, rule 5. */

import { expect, it } from 'vitest'
import { encode } from '../../src/blob/codec.js'
import { decodeCap, encodeCap } from '../../src/present/cap.js'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

it('a cap is [keep, keepBytes, keepAge], nil where nothing is said', () => {
  expect(hex(encode(encodeCap({ keep: 1_000 })))).toBe('93cd03e8c0c0')
  expect(hex(encode(encodeCap({ keepBytes: 65_536, keepAge: 60_000 })))).toBe(
    '93c0ce00010000cdea60',
  )
  for (const cap of [{ keep: 1 }, { keepBytes: 2, keepAge: 3 }, { keep: 1, keepBytes: 2 }]) {
    expect(decodeCap([...encodeCap(cap)])).toEqual(cap)
  }
})

it.each([[[0, null, null]], [['1', null, null]], [[1.5, null, null]]])(
  'the record %j is ECORRUPT',
  (record) => {
    expect(() => decodeCap(record)).toThrow(expect.objectContaining({ code: 'ECORRUPT' }))
  },
)
