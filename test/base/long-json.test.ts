/** Long JSON, parsed a little at a time: it must be what parseJson gives, and refuses. */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { jsonNamesMax, jsonValuesMax, parseJson } from '../../src/base/json.js'
import { parseLongJson, shortJsonMax } from '../../src/base/long-json.js'
import { isCode } from '../../src/error.js'

/** Blanks that make any text a long one. */
const blanks = ' '.repeat(shortJsonMax)

type Outcome = { readonly value: unknown } | { readonly code: string }

async function outcomeOf(parse: () => unknown): Promise<Outcome> {
  try {
    return { value: await parse() }
  } catch (error) {
    for (const code of ['EINVAL', 'E2BIG'] as const) {
      if (isCode(error, code)) return { code }
    }
    throw error
  }
}

async function expectAlike(text: string): Promise<void> {
  const expected = await outcomeOf(() => parseJson(text, 'it'))
  expect(await outcomeOf(() => parseLongJson(text + blanks, 'it'))).toEqual(expected)
  expect(await outcomeOf(() => parseLongJson(Buffer.from(blanks + text), 'it'))).toEqual(expected)
}

describe('parseLongJson()', () => {
  it('gives what parseJson gives', async () => {
    const spaces = fc.constantFrom(undefined, 1, '\t')
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), spaces, (value, space) =>
        expectAlike(JSON.stringify(value, undefined, space)),
      ),
    )
  })

  it.each(['0.0', '1.0', '-0.0', '1e0'])(
    'takes a long number that begins with %s for one',
    (begin) => expectAlike(begin + '0'.repeat(3 * shortJsonMax)),
  )

  it('refuses what parseJson refuses, with the same code', async () => {
    const token = fc.constantFrom(
      ...'[]{},:"\\ \n01-.eE+',
      ...[
        'true',
        'null',
        '"a"',
        '"a":',
        '"b":',
        '"__proto__":',
        'u',
        '12',
        '\\ud800',
        '9007199254740993',
      ],
    )
    await fc.assert(
      fc.asyncProperty(fc.array(token, { maxLength: 12 }), (tokens) =>
        expectAlike(tokens.join('')),
      ),
      { numRuns: 300 },
    )
  })

  it.each([
    '{"a":{"b":1,"b":2}}',
    '["\\ud800"]',
    '['.repeat(65),
    '{"__proto__":{"a":[]}}',
    '"ä"',
    '',
  ])('treats %j as parseJson does', expectAlike)

  // Characters in the middle of a string that is most of the text.
  it.each([
    '',
    '\\n',
    '\\u0041',
    '\n',
    '\u001f',
    '\u007f',
    'ä',
    '\ud83d\ude00',
    '\\ud800',
    '\\"',
    '"',
  ])('treats a string of many characters with %j as parseJson does', async (middle) => {
    const half = 'x'.repeat(2 * shortJsonMax)
    for (const text of [`"${half}${middle}${half}"`, `{"a":["${half}${middle}${half}"],"b":1}`]) {
      const expected = await outcomeOf(() => parseJson(text, 'it'))
      expect(await outcomeOf(() => parseLongJson(text, 'it'))).toEqual(expected)
      expect(await outcomeOf(() => parseLongJson(Buffer.from(text), 'it'))).toEqual(expected)
    }
  })

  it('says the line and the column', async () => {
    const text = `${blanks}\n{"a":\n  01}`
    await expect(parseLongJson(text, 'it')).rejects.toThrow(/line 3, column 3/)
  })
})

it('ends early where nobody waits for the value any more', async () => {
  const text = JSON.stringify(Array.from({ length: 200_000 }, (_, at) => at))
  let looks = 0
  const isGone = () => ++looks === 2
  await expect(parseLongJson(text, 'it', isGone)).rejects.toMatchObject({ code: 'ECANCELED' })
  expect(looks).toBe(2)
  await expect(parseLongJson(text, 'it', () => true)).rejects.toMatchObject({ code: 'ECANCELED' })
})

it('lets go of the bytes once it has their text', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const begin = () => {
    const bytes = Buffer.from(JSON.stringify(Array.from({ length: 250_000 }, (_, at) => at)))
    return [parseLongJson(bytes, 'it'), new WeakRef(bytes.buffer)] as const
  }
  const [parsing, bytes] = begin()
  let isParsed = false
  void parsing.then(() => {
    isParsed = true
  })
  while (bytes.deref() && !isParsed) {
    await nextTurn()
    collect()
  }
  expect(isParsed).toBe(false)
  expect(await parsing).toHaveLength(250_000)
})

it('takes as many values and names as the bounds say, and no more', async () => {
  const values = (count: number) => `[${'1,'.repeat(count - 2)}1]`
  const names = (count: number) => {
    const all = Array.from({ length: count }, (_, at) => `"${at}":1`)
    return `{${all.join(',')}}`
  }
  for (const [textOf, max] of [
    [values, jsonValuesMax],
    [names, jsonNamesMax],
  ] as const) {
    expect(await parseLongJson(textOf(max), 'it')).toEqual(parseJson(textOf(max), 'it'))
    const more = textOf(max + 1)
    await expect(parseLongJson(more, 'it')).rejects.toMatchObject({ code: 'E2BIG' })
    expect(() => parseJson(more, 'it')).toThrow(expect.objectContaining({ code: 'E2BIG' }))
  }
})
