/** parseTransaction(): what is taken, and each thing that is refused. */

import { describe, expect, it } from 'vitest'
import { guardsMax, opsMax, transactionSizeMax } from '../../src/api/transaction.js'
import { decode, encodeFrame } from '../../src/blob/codec.js'
import { parseTransaction } from '../../src/wire/transaction.js'

const ref = `blake3-${'0'.repeat(64)}`

describe('parseTransaction()', () => {
  it('takes every op and guard', () => {
    const transaction = parseTransaction({
      guards: [{ key: 'a', absent: true }, { key: 'b', ref }, { key: 'c', count: 3 }, { seq: 7 }],
      ops: [
        { op: 'put', key: 'a', value: 'é', contentType: 'text/plain' },
        { op: 'append', key: 'b', value: { base64: '/w==' }, seal: true },
        { op: 'seal', key: 'c' },
        { op: 'unlink', key: 'd', recursive: true },
        { op: 'mkdir', key: 'e' },
        { op: 'symlink', key: 'f', target: 'g', namespace: 'h' },
      ],
      noMerge: true,
    })
    expect(JSON.parse(JSON.stringify(transaction))).toMatchObject({
      guards: [{ key: 'a', absent: true }, { key: 'b', ref }, { key: 'c', count: 3 }, { seq: 7 }],
      noMerge: true,
    })
    expect(transaction.ops.map((op) => ('value' in op ? [...op.value] : op))).toEqual([
      [0xc3, 0xa9],
      [0xff],
      { op: 'seal', key: 'c' },
      { op: 'unlink', key: 'd', recursive: true },
      { op: 'mkdir', key: 'e' },
      { op: 'symlink', key: 'f', target: 'g', namespace: 'h' },
    ])
  })

  it('takes the same from msgpack, with bytes as they are', () => {
    const sent = {
      guards: [{ seq: 2 ** 40 }],
      ops: [{ op: 'put', key: 'k', value: Buffer.from([0, 255]) }],
    }
    const transaction = parseTransaction(decode(encodeFrame(sent)))
    expect(transaction.guards).toEqual([{ seq: 2 ** 40 }])
    expect(transaction.ops[0]).toMatchObject({ op: 'put', key: 'k' })
    expect(transaction.ops[0]).toHaveProperty('value', Buffer.from([0, 255]))
  })

  it('takes an empty transaction', () => {
    expect(parseTransaction({ ops: [] })).toEqual({ ops: [] })
  })

  it.each([
    ['no object', 5],
    ['no ops', {}],
    ['ops that are no array', { ops: {} }],
    ['an unknown field', { ops: [], nomerge: true }],
    ['an unknown op', { ops: [{ op: 'copy', key: 'a' }] }],
    ['an op by the name of a method', { ops: [{ op: 'toString', key: 'a' }] }],
    ['an unknown field of an op', { ops: [{ op: 'put', key: 'a', value: '', seal: true }] }],
    ['no key', { ops: [{ op: 'mkdir' }] }],
    ['no value', { ops: [{ op: 'put', key: 'a' }] }],
    ['a number as value', { ops: [{ op: 'put', key: 'a', value: 1 }] }],
    ['bad base64', { ops: [{ op: 'put', key: 'a', value: { base64: '*' } }] }],
    ['half a surrogate pair', { ops: [{ op: 'put', key: 'a', value: '\ud800' }] }],
    ['a flag that is none', { ops: [{ op: 'append', key: 'a', value: '', seal: 1 }] }],
    [
      'a content type that is no header',
      { ops: [{ op: 'put', key: 'a', value: '', contentType: 'a\nb' }] },
    ],
    ['a guard of two conditions', { ops: [], guards: [{ key: 'a', absent: true, count: 0 }] }],
    ['a guard of none', { ops: [], guards: [{ key: 'a' }] }],
    ['a guard that is absent: false', { ops: [], guards: [{ key: 'a', absent: false }] }],
    ['a seq with a key', { ops: [], guards: [{ key: 'a', seq: 1 }] }],
    ['a negative count', { ops: [], guards: [{ key: 'a', count: -1 }] }],
    ['half a seq', { ops: [], guards: [{ seq: 1.5 }] }],
  ])('refuses %s with EINVAL', (_, input) => {
    expect(() => parseTransaction(input)).toThrow(expect.objectContaining({ code: 'EINVAL' }))
  })

  it('says which value is no base64', () => {
    const bad = { op: 'put', key: 'b', value: { base64: '*' } }
    const input = { ops: [{ op: 'put', key: 'a', value: '' }, bad] }
    expect(() => parseTransaction(input)).toThrow(/^ops\[1\]\.value: base64/)
  })

  it.each([
    ['ops', { ops: Array(opsMax).fill({ op: 'mkdir', key: 'a' }) }],
    ['guards', { ops: [], guards: Array(guardsMax).fill({ seq: 0 }) }],
    ['bytes', { ops: [{ op: 'put', key: 'a', value: Buffer.alloc(transactionSizeMax) }] }],
  ])('takes as many %s as the limit says, and not one more', (_, input) => {
    expect(() => parseTransaction(input)).not.toThrow()
    const more = {
      ...input,
      ops: [...input.ops, { op: 'append', key: 'a', value: 'x' }],
      ...('guards' in input ? { guards: [...input.guards, { seq: 0 }] } : {}),
    }
    expect(() => parseTransaction(more)).toThrow(expect.objectContaining({ code: 'E2BIG' }))
  })
})
