/** Buffers that are used again have one user at a time, and their number is bounded. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BufferPool } from '../../src/base/buffer-pool.js'

const size = 256 * 1024

test('a buffer that was given back is taken again, once', () => {
  const pool = new BufferPool()
  const first = pool.take(size)
  pool.give(first)
  const second = pool.take(size - 1)
  expect(second.buffer).toBe(first.buffer)
  expect(second.length).toBe(size - 1)
  expect(pool.take(size).buffer).not.toBe(first.buffer)
})

test('a buffer that is smaller, or more than a quarter larger, is not taken', () => {
  const pool = new BufferPool()
  const given = pool.take(size)
  pool.give(given)
  expect(pool.take(size + 1).buffer).not.toBe(given.buffer)
  expect(pool.take((size * 3) / 4 - 1).buffer).not.toBe(given.buffer)
  expect(pool.take((size * 3) / 4).buffer).toBe(given.buffer)
})

test('at most eight are kept, none of them small or very large', () => {
  const pool = new BufferPool()
  const given = [64 * 1024 - 1, 512 * 1024 + 1, ...Array<number>(9).fill(size)].map((each) =>
    Buffer.allocUnsafeSlow(each),
  )
  for (const buffer of given) pool.give(buffer)
  const kept = new Set<ArrayBufferLike>(given.map(({ buffer }) => buffer))
  const taken = given.map(({ length }) => pool.take(length).buffer)
  expect(taken.filter((buffer) => kept.has(buffer))).toHaveLength(8)
})

test('no buffer has two users, whatever is taken and given', () => {
  const step = fc.record({ give: fc.boolean(), at: fc.nat(), size: fc.nat({ max: 600_000 }) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const pool = new BufferPool()
      const used: Buffer[] = []
      for (const { give, at, size: length } of steps) {
        const [given] = give ? used.splice(at % Math.max(1, used.length), 1) : []
        if (given) pool.give(given)
        if (give) continue
        const taken = pool.take(length)
        expect(taken.length).toBe(length)
        if (length > 0) expect(used.some(({ buffer }) => buffer === taken.buffer)).toBe(false)
        used.push(taken)
      }
    }),
    { numRuns: 200 },
  )
})
