/** Every op and every guard there and back, as JSON and as msgpack, and what each refuses. rfc/12; rfc/6, rules 2
 *  and 3. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Guard, Op } from '../../src/api/transaction.js'
import { decode, encodeFrame } from '../../src/blob/codec.js'
import { toJson } from '../../src/wire/bytes.js'
import { parseTransaction } from '../../src/wire/transaction.js'
import { refusal } from '../kvs/expect.js'

const ref = `blake3-${'0'.repeat(64)}`
const token = { incarnation: 'ab', seq: 4 }
const value = Buffer.from([0, 255])

/** All forms of each: an op that is added must be added here. */
const ops: { readonly [Name in Op['op']]: readonly Extract<Op, { op: Name }>[] } = {
  put: [
    { op: 'put', key: 'k', value },
    { op: 'put', key: 'k', value, contentType: 'text/plain', ttl: 1_000, sliding: true },
  ],
  append: [
    { op: 'append', key: 'k', value },
    {
      op: 'append',
      key: 'k',
      value,
      seal: true,
      producer: { id: 'p', epoch: 1, seq: 2 ** 40 },
      ttl: 0,
      sliding: false,
    },
  ],
  seal: [{ op: 'seal', key: 'k' }],
  trim: [
    { op: 'trim', key: 'k', before: 3 },
    { op: 'trim', key: 'k', keep: 0 },
    { op: 'trim', key: 'k', keepBytes: 2 ** 50 },
    { op: 'trim', key: 'k', olderThan: 60_000 },
  ],
  unlink: [
    { op: 'unlink', key: 'k' },
    { op: 'unlink', key: 'k', recursive: true },
  ],
  mkdir: [{ op: 'mkdir', key: 'k' }],
  symlink: [
    { op: 'symlink', key: 'k', target: 't' },
    { op: 'symlink', key: 'k', target: 't', namespace: 'n' },
  ],
  copy: [
    { op: 'copy', key: 'k', from: 'f' },
    { op: 'copy', key: 'k', from: 'f', namespace: 'n', at: 7, replace: true },
    { op: 'copy', key: 'k', from: 'f', at: ref },
  ],
  move: [
    { op: 'move', key: 'k', from: 'f' },
    { op: 'move', key: 'k', from: 'f', namespace: 'n', replace: true },
  ],
  fork: [
    { op: 'fork', key: 'k', from: 'f', count: 0 },
    { op: 'fork', key: 'k', from: 'f', namespace: 'n', at: 7, count: 9 },
  ],
  restore: [
    { op: 'restore', key: 'k', at: 7 },
    { op: 'restore', key: 'k', at: ref },
  ],
  treeobj: [
    { op: 'treeobj', key: 'k', treeobj: { ver: 1, type: 'val', data: 'eA==' } },
    { op: 'treeobj', key: 'k', treeobj: { ver: 1, type: 'valref', data: [ref] }, dangling: true },
  ],
  lease: [
    { op: 'lease', key: 'k', action: 'take', ttl: 1_000 },
    { op: 'lease', key: 'k', action: 'take', ttl: 1_000, owner: 'me' },
    { op: 'lease', key: 'k', action: 'renew', token },
    { op: 'lease', key: 'k', action: 'renew', token, ttl: 5 },
    { op: 'lease', key: 'k', action: 'release', token },
  ],
}

const guards: readonly Guard[] = [
  { key: 'k', absent: true },
  { key: 'k', ref },
  { key: 'k', count: 0 },
  { seq: 2 ** 52 },
  { lease: 'k', token },
  { key: 'k', producer: 'p', epoch: 0, next: 3 },
]

const all: readonly Op[] = Object.values(ops).flat()

/** As a client in JSON, and one in msgpack, would have it sent. */
const ways = {
  json: (sent: unknown) => JSON.parse(JSON.stringify(toJson(sent))),
  msgpack: (sent: unknown) => decode(encodeFrame(sent)),
}

describe.each(Object.entries(ways))('in %s', (_, sent) => {
  it.each(all.map((op) => [op] as const))('%j comes through', (op) => {
    expect(plain(parseTransaction(sent({ ops: [op] })).ops)).toEqual(plain([op]))
  })

  it.each(guards.map((guard) => [guard] as const))('%j comes through', (guard) => {
    expect(parseTransaction(sent({ guards: [guard], ops: [] })).guards).toEqual([guard])
  })

  it('any of them, in their order', () => {
    const some = fc.record({
      guards: fc.array(fc.constantFrom(...guards)),
      ops: fc.array(fc.constantFrom(...all)),
      noMerge: fc.boolean(),
    })
    fc.assert(
      fc.property(some, (transaction) => {
        expect(plain(parseTransaction(sent(transaction)))).toEqual(plain(transaction))
      }),
    )
  })

  it.each(all.map((op) => [op] as const))('%j with a field too many is EINVAL', async (op) => {
    const parse = async () => parseTransaction(sent({ ops: [{ ...op, unknown: 1 }] }))
    expect(await refusal(parse())).toMatchObject({ code: 'EINVAL' })
  })

  it.each(all.flatMap((op) => missing(op).map((name) => [name, op] as const)))(
    'without %s, %j is EINVAL',
    async (name, op) => {
      const rest = Object.fromEntries(Object.entries(op).filter(([each]) => each !== name))
      const parse = async () => parseTransaction(sent({ ops: [rest] }))
      expect(await refusal(parse())).toMatchObject({ code: 'EINVAL' })
    },
  )

  it.each(guards.map((guard) => [guard] as const))('%j of two minds is EINVAL', async (guard) => {
    for (const other of guards) {
      if (other === guard) continue
      const parse = async () =>
        parseTransaction(sent({ guards: [{ ...guard, ...other }], ops: [] }))
      expect(await refusal(parse()), JSON.stringify(other)).toMatchObject({ code: 'EINVAL' })
    }
  })

  it.each([
    { op: 'append', key: 'k', value, producer: { id: 'p', epoch: 0 } },
    { op: 'append', key: 'k', value, producer: { id: 'p', epoch: -1, seq: 0 } },
    { op: 'append', key: 'k', value, producer: { id: 'p', epoch: 0, seq: 0.5 } },
    { op: 'append', key: 'k', value, producer: { id: 1, epoch: 0, seq: 0 } },
    { op: 'append', key: 'k', value, producer: { id: 'p', epoch: 0, seq: 0, more: 1 } },
    { op: 'trim', key: 'k', before: 1, keep: 1 },
    { op: 'lease', key: 'k', action: 'steal', ttl: 1 },
    { op: 'lease', key: 'k', action: 'take', ttl: 1, token },
    { op: 'lease', key: 'k', action: 'release', token, ttl: 1 },
    { op: 'lease', key: 'k', action: 'renew', token: { incarnation: 'ab' } },
  ])('%j is EINVAL', async (op) => {
    const parse = async () => parseTransaction(sent({ ops: [op] }))
    expect(await refusal(parse())).toMatchObject({ code: 'EINVAL' })
  })
})

describe('in bytes', () => {
  it.each([
    [
      { op: 'append', key: 'k', value, producer: { id: 'p', epoch: 1, seq: 2 } },
      '84a26f70a6617070656e64a36b6579a16ba576616c7565c40200ffa870726f647563657283a26964a170a565706f636801a373657102',
    ],
    [
      { key: 'k', producer: 'p', epoch: 0, next: 3 },
      '84a36b6579a16ba870726f6475636572a170a565706f636800a46e65787403',
    ],
    [
      { lease: 'k', token },
      '82a56c65617365a16ba5746f6b656e82ab696e6361726e6174696f6ea26162a373657104',
    ],
  ])('%j is golden', (sent, golden) => {
    expect(Buffer.from(encodeFrame(sent)).toString('hex')).toBe(golden)
  })
})

/** Fields without which an op means nothing. */
function missing(op: Op): string[] {
  const optional = ['contentType', 'ttl', 'sliding', 'seal', 'producer', 'recursive', 'replace']
  const others = ['dangling', 'owner', 'namespace', 'at']
  const isNeeded = (name: string) => {
    if (op.op === 'restore' && name === 'at') return true
    if (op.op === 'lease' && op.action === 'take' && name === 'ttl') return true
    return ![...optional, ...others].includes(name)
  }
  return Object.keys(op).filter(isNeeded)
}

/** Bytes as an array: whatever kind of buffer they are in. */
function plain(input: unknown): unknown {
  return JSON.parse(JSON.stringify(toJson(input)))
}
