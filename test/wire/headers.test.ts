/** Text in headers: rfc/12, rule 20. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fromHeader, toHeader } from '../../src/wire/headers.js'
import { refusal } from '../kvs/expect.js'

describe('text in a header', () => {
  it('comes back, whatever it is, or is refused before it is sent', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const header = toHeader(text)
        if (header === undefined) {
          // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it is about.
          expect(!text.isWellFormed() || /[\x00-\x1f\x7f]|^ | $/.test(text)).toBe(true)
          return
        }
        expect(/^[\x20-\x7e\x80-\xff]*$/.test(header)).toBe(true)
        expect(fromHeader('x', header)).toBe(text)
      }),
    )
  })

  it.each([
    ['plain', 'plain'],
    ['', ''],
    ['a b', 'a b'],
    ['ü', 'Ã¼'],
    ['\ufeffx', 'ï»¿x'],
  ])('%j is %j', (text, header) => {
    expect(toHeader(text)).toBe(header)
    expect(fromHeader('x', header)).toBe(text)
  })

  it.each([' a', 'a ', 'a\n', '\ta', 'a\0', '\x7f', '\ud800'])('%j cannot be one', (text) => {
    expect(toHeader(text)).toBeUndefined()
  })

  it('that is not UTF-8 is EINVAL', async () => {
    const read = async () => fromHeader('Producer-Id', '\xff')
    expect(await refusal(read())).toMatchObject({
      code: 'EINVAL',
      message: expect.stringContaining('Producer-Id'),
    })
  })
})

it('toHeader() looks at blanks once', () => {
  // A search that goes back over them would not end within the test's time.
  const text = `a${' '.repeat(1_000_000)}b`
  expect(toHeader(text)).toBe(text)
  expect(toHeader(`${text} `)).toBeUndefined()
})
