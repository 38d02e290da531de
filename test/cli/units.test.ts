/** Sizes and lengths of time, as people write and read them. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { UsageError } from '../../src/cli/command.js'
import { duration, size, sizeText } from '../../src/cli/units.js'

it.each([
  [0, '0B'],
  [999, '999B'],
  [1_023, '1023B'],
  [1_024, '1.0K'],
  [1_536, '1.5K'],
  [10_239, '10K'],
  [1_048_575, '1.0M'],
  [1.5 * 1024 ** 3, '1.5G'],
])('%d bytes are %s', (bytes, text) => {
  expect(sizeText(bytes)).toBe(text)
})

it('a size is at most six columns wide, and is what --history-size takes for about as much', () => {
  fc.assert(
    fc.property(fc.nat(2 ** 45), (bytes) => {
      const text = sizeText(bytes)
      expect(text.length).toBeLessThan(6)
      expect(Math.abs(size.parse(text, 'it', false) - bytes)).toBeLessThanOrEqual(bytes / 18)
    }),
  )
})

describe('a length of time', () => {
  it.each([
    ['0', 0],
    ['500ms', 500],
    ['1.5s', 1_500],
    ['90s', 90_000],
    ['15m', 900_000],
    ['12h', 43_200_000],
    ['7d', 604_800_000],
    ['2w', 1_209_600_000],
  ])('%s is %i ms', (text, ms) => {
    expect(duration.parse(text, '--t', false)).toBe(ms)
  })

  it.each(['', '7', '-1s', '1 s', '1y', 's', '1e3s', `${'9'.repeat(20)}s`])(
    'refuses "%s"',
    (text) => {
      expect(() => duration.parse(text, '--t', false)).toThrow(UsageError)
    },
  )
})
