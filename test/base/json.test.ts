/** JSON from outside: the same values as JSON.parse gives, or an error that names the place. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { jsonDepthMax, parseJson } from '../../src/base/json.js'

function refusal(text: string | Uint8Array): string {
  try {
    parseJson(text, 'it')
  } catch (error) {
    expect(error).toMatchObject({ code: 'EINVAL' })
    return (error as Error).message
  }
  throw new Error(`not refused: ${text}`)
}

describe('parseJson()', () => {
  it('gives what JSON.parse gives, however it is spaced', () => {
    const spaces = fc.constantFrom(undefined, 1, '\t')
    fc.assert(
      fc.property(fc.jsonValue(), spaces, (value, space) => {
        const text = JSON.stringify(value, undefined, space)
        expect(parseJson(text, 'it')).toEqual(JSON.parse(text))
        expect(parseJson(Buffer.from(` \r\n${text} `), 'it')).toEqual(JSON.parse(text))
      }),
    )
  })

  it('refuses what JSON.parse refuses, and a name twice', () => {
    const token = fc.constantFrom(
      ...'[]{},:"\\ \n01-.eE+',
      'true',
      'null',
      '"a"',
      '"a":',
      'u',
      '12',
    )
    fc.assert(
      fc.property(fc.array(token, { maxLength: 12 }), (tokens) => {
        const text = tokens.join('')
        let plain: { readonly value: unknown } | undefined
        try {
          plain = { value: JSON.parse(text) }
        } catch {
          expect(refusal(text)).toMatch(/^it is not JSON: |^it has the number /)
          return
        }
        let strict: { readonly value: unknown } | undefined
        try {
          strict = { value: parseJson(text, 'it') }
        } catch {
          expect(refusal(text)).toMatch(/twice|the number/)
        }
        expect(strict ?? plain).toEqual(plain)
      }),
      { numRuns: 3_000 },
    )
  })

  it.each(['\\', '\\"', '"'.repeat(3), 'a'.repeat(31), 'a'.repeat(32), `${'a'.repeat(40)}"\\`])(
    'finds the end of a string with %j in it at any place',
    (part) => {
      for (const before of ['', 'x', 'y'.repeat(30), 'z'.repeat(70)]) {
        const value = [before + part, { [part + before]: part.repeat(9) + before }]
        expect(parseJson(JSON.stringify(value), 'it')).toEqual(value)
      }
    },
  )
})

describe('numbers', () => {
  it.each([
    ['9007199254740993'],
    ['-12345678901234567'],
    ['1e400'],
    ['-1e400'],
    ['1e-400'],
    ['0.12345678901234567890'],
    ['1234567890123456.789'],
    ['100000000000000000000000000000000000001'],
    ['9007199254740993e0'],
    ['1700000000.123456789'],
  ])('%s is refused by name', (number) => {
    expect(refusal(`{"a":\n[1, ${number}]}`)).toMatch(`the number ${number}`)
    expect(refusal(`{"a":\n[1, ${number}]}`)).toMatch('line 2, column 5')
  })

  it.each([
    ['9007199254740992'],
    ['-9007199254740991'],
    ['0.1'],
    ['100000000000000000000'],
    ['1.0000000000000000000'],
    ['0.00000000000000000000000125'],
    ['1.7976931348623157e308'],
    ['5e-324'],
    ['-0.0000000000000000000'],
    ['1700000000.1234567'],
  ])('%s is kept', (number) => {
    expect(parseJson(`[${number}]`, 'it')).toEqual([Number(number)])
  })

  it('that a program writes are kept', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (number) => {
        expect(parseJson(String(number), 'it')).toBe(Number(String(number)))
      }),
    )
  })
})

it('a name that stands twice in one object is refused, in two it is not', () => {
  expect(refusal('{"b":{},\n "a":1,"\\u0061":2}')).toBe(
    'it has the name "a" twice in one object, at line 2, column 8',
  )
  expect(refusal('[{"a":[{"a":1}],"b":"{}","a":2}]')).toMatch('the name "a" twice')
  expect(refusal('{"__proto__":1,"__proto__":2}')).toMatch('twice')
  for (const long of ['x'.repeat(9_000_000), '\\n'.repeat(4_000_000)]) {
    expect(refusal(`{"long":"${long}","a":1,"a":2}`)).toMatch('the name "a" twice')
  }
  const text = '{"a":{"a":{"b":1}},"b":[{"a":1},{"a":":"}],"__proto__":{"a":1}}'
  expect(parseJson(text, 'it')).toEqual(JSON.parse(text))
})

it('is read to its bound of levels, and refused above, without reading on', () => {
  const deep = (levels: number) => '['.repeat(levels) + ']'.repeat(levels)
  expect(parseJson(deep(jsonDepthMax), 'it')).toEqual(JSON.parse(deep(jsonDepthMax)))
  expect(refusal(deep(jsonDepthMax + 1))).toMatch(`more than ${jsonDepthMax} levels deep`)
  expect(refusal('{"a":['.repeat(2_000_000))).toMatch('line 1, column 193')
})

it('text that is no text is refused', () => {
  expect(refusal(Uint8Array.of(0x22, 0xff, 0x22))).toMatch('it is not UTF-8')
  expect(refusal('["\\ud800"]')).toMatch('half a surrogate pair')
  expect(refusal('{"\\udc00":1}')).toMatch('half a surrogate pair')
  expect(refusal('["\ud800"]')).toMatch('half a surrogate pair')
  expect(parseJson('["\\ud83d\\ude00"]', 'it')).toEqual(['😀'])
})

it.each([
  ['', 'a value was expected at line 1, column 1, where the text ends'],
  ['{"a":1,}', 'a name in quotes was expected at line 1, column 8'],
  ['{"a" 1}', 'a colon was expected at line 1, column 6'],
  ['[1\n 2]', 'a comma or ] was expected at line 2, column 2'],
  ['{"a":1', 'a comma or } was expected at line 1, column 7, where the text ends'],
  ['1 2', 'the end was expected at line 1, column 3'],
  ['["\n"]', 'Bad control character in string literal at line 1, column 3'],
])('%j is not JSON: %s', (text, message) => {
  expect(refusal(text)).toBe(`it is not JSON: ${message}`)
})
