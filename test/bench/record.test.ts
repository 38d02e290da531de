/** The records of the benchmarks: whoever reads one finds every byte that differs. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { checkRecord, makeRecord, RecordReader } from '../../bench/record.js'

test('a record is known by its bytes, and a flipped one is found', () => {
  fc.assert(
    fc.property(
      fc.nat(2 ** 31),
      fc.integer({ min: 17, max: 5_000 }),
      fc.nat(),
      (index, size, at) => {
        const record = makeRecord(index, size, 1.5)
        expect(checkRecord(record, size)).toEqual({ index, stamp: 1.5 })
        const flipped = Buffer.from(record)
        const place = 16 + (at % (size - 16))
        flipped.writeUInt8(flipped.readUInt8(place) ^ 1, place)
        expect(() => checkRecord(flipped, size)).toThrow('other bytes')
      },
    ),
  )
})

test('records come out whole, however they were cut', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(1_000), { minLength: 1 }), (cuts) => {
      const size = 100
      const all = Buffer.concat(Array.from({ length: 9 }, (_, index) => makeRecord(index, size)))
      const seen: number[] = []
      const reader = new RecordReader(size, (index) => {
        seen.push(index)
        return index < 7
      })
      let going = true
      const places = [
        0,
        ...cuts.filter((cut) => cut < all.length).sort((a, b) => a - b),
        all.length,
      ]
      places.forEach((place, at) => {
        if (going) going = reader.push(all.subarray(place, places[at + 1]))
      })
      expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
      expect(going).toBe(false)
    }),
  )
})
