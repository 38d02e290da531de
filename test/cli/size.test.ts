/** Sizes as tables show them. */

import fc from 'fast-check'
import { expect, it } from 'vitest'
import { parseSize, sizeText } from '../../src/cli/size.js'

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
      expect(Math.abs(parseSize('it', text) - bytes)).toBeLessThanOrEqual(bytes / 18)
    }),
  )
})
