/** Requests and bodies: each thing that is refused. */

import { describe, expect, it } from 'vitest'
import { readKeysMax } from '../../src/api/kvs.js'
import { parseReadBody, parseRequest, parseRootBody, requestIdOf } from '../../src/wire/requests.js'

const refused = expect.objectContaining({ code: 'EINVAL' })

describe('parseRequest()', () => {
  it.each([
    ['null', null],
    ['an array', []],
    ['bytes', Buffer.from('x')],
    ['no op', { id: 1 }],
    ['an unknown op', { id: 1, op: 'fetch' }],
    ['no id', { op: 'cancel' }],
    ['id 0, which is the connection', { id: 0, op: 'cancel' }],
    ['half an id', { id: 1.5, op: 'cancel' }],
    ['an unknown field', { id: 1, op: 'cancel', key: 'x' }],
    ['an unknown mode', { id: 1, op: 'watch', key: 'a', mode: 'changes' }],
    ['no mode', { id: 1, op: 'watch', key: 'a' }],
    ['a negative credit', { id: 1, op: 'watch', key: 'a', mode: 'append', credit: -1 }],
    ['an offset below 0', { id: 1, op: 'watch', key: 'a', mode: 'append', from: { offset: -1 } }],
    [
      'an offset with an index',
      { id: 1, op: 'watch', key: 'a', mode: 'append', from: { offset: 1, index: 1 } },
    ],
    ['half a position', { id: 1, op: 'watch', key: 'a', mode: 'append', from: { index: 1 } }],
    ['text as from', { id: 1, op: 'watch', key: 'a', mode: 'append', from: '1' }],
    ['a start of values', { id: 1, op: 'watch', key: 'a', mode: 'value', from: 0 }],
    ['uniq of appends', { id: 1, op: 'watch', key: 'a', mode: 'append', uniq: true }],
    ['a grant that is none', { id: 1, op: 'credit', bytes: '5' }],
  ])('refuses %s', (_, input) => {
    expect(() => parseRequest(input)).toThrow(refused)
  })

  it('takes 64-bit integers of msgpack', () => {
    expect(parseRequest({ id: 1, op: 'credit', bytes: 5n })).toEqual({
      id: 1,
      op: 'credit',
      bytes: 5,
    })
  })
})

it('requestIdOf() is 0 where there is no usable id', () => {
  for (const input of [null, 5, {}, { id: -1 }, { id: 'x' }, { id: 0 }]) {
    expect(requestIdOf(input)).toBe(0)
  }
})

describe('bodies', () => {
  it('read: keys, at, minSeq, at most so many', () => {
    expect(parseReadBody({ keys: ['a'], at: 1, minSeq: 2 })).toEqual({
      keys: ['a'],
      at: 1,
      minSeq: 2,
    })
    expect(parseReadBody({ keys: Array(readKeysMax).fill('a') }).keys).toHaveLength(readKeysMax)
    expect(() => parseReadBody({ keys: Array(readKeysMax + 1).fill('a') })).toThrow(
      expect.objectContaining({ code: 'E2BIG' }),
    )
    expect(() => parseReadBody({ keys: [1] })).toThrow(refused)
    expect(() => parseReadBody({ keys: [], when: 1 })).toThrow(refused)
  })

  it('root: nothing, or waitSeq', () => {
    expect(parseRootBody(undefined)).toEqual({})
    expect(parseRootBody({ waitSeq: 3 })).toEqual({ waitSeq: 3 })
    expect(() => parseRootBody({ seq: 3 })).toThrow(refused)
  })
})
