/** Differences of actions. See rfc/22, rule 15. */

import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { differencesMax } from '../../src/api/cache.js'
import { differencesOf } from '../../src/cache/compare.js'

describe('differencesOf()', () => {
  it('names the smallest parts that differ, with the value of each side', () => {
    const before = { code: 'a@1', inputs: [{ hash: 'x' }, { hash: 'y' }], old: 1, same: { a: [1] } }
    const after = {
      code: 'a@2',
      inputs: [{ hash: 'x' }, { hash: 'z' }, 7],
      same: { a: [1] },
      new: 2,
    }
    expect(differencesOf(before, after)).toEqual([
      { path: 'code', before: 'a@1', after: 'a@2' },
      { path: 'inputs[1].hash', before: 'y', after: 'z' },
      { path: 'inputs[2]', after: 7 },
      { path: 'old', before: 1 },
      { path: 'new', after: 2 },
    ])
  })

  it.each([
    ['other kinds', [1], { 0: 1 }],
    ['an object and null', {}, null],
    ['bytes', Uint8Array.of(1), Uint8Array.of(2)],
    ['numbers', 1, 2],
    ['a number and its bigint', 1, 1n],
  ])('takes %s as a whole', (_name, before, after) => {
    expect(differencesOf(before, after)).toEqual([{ path: '', before, after }])
  })

  it('quotes a name that is no word', () => {
    expect(differencesOf({ 'a.b': { 'c d': 1 } }, { 'a.b': { 'c d': 2 } })).toEqual([
      { path: '["a.b"]["c d"]', before: 1, after: 2 },
    ])
  })

  it('finds nothing in equal actions, and something in all others', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        expect(differencesOf(a, structuredClone(a))).toEqual([])
        expect(differencesOf(a, b).length === 0).toBe(isDeepStrictEqual(a, b))
      }),
    )
  })

  it('tells a bounded number', () => {
    const before = Array.from({ length: differencesMax + 1 }, () => 0)
    expect(
      differencesOf(
        before,
        before.map(() => 1),
      ).length,
    ).toBe(differencesMax)
  })
})
