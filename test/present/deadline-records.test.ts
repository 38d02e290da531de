/** The bytes of what `meta` keeps of leases and of keys that expire: golden, and what damage is. See
 *  rfc/9. */

import { afterEach, expect, it } from 'vitest'
import { encode } from '../../src/blob/codec.js'
import { Content } from '../../src/content/content.js'
import { readRecord, readRecords } from '../../src/draft/meta.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { type EmbeddedStore, openOn } from '../../src/open.js'
import { decodeExpires, encodeExpires } from '../../src/present/expiry.js'
import { decodeLease, encodeLease, leasePath } from '../../src/present/leases.js'
import { Nodes } from '../../src/tree/nodes.js'
import { readRoot } from '../../src/tree/root.js'
import type { Key } from '../../src/treeobj/key.js'
import { TestClock } from '../clock.js'

let store: EmbeddedStore | undefined
afterEach(async () => {
  await store?.[Symbol.asyncDispose]()
  store = undefined
})

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

it('a lease is [key, seq, ttl, owner, renewed, takeId] under the hash of its key', () => {
  const key = 'ci/lock' as Key
  const renewed = 1_700_000_000_000
  const held = { key, seq: 7, ttl: 30_000, owner: 'me', renewed, takeId: undefined }
  const old = { ...held, renewed: undefined }
  expect(hex(encode(encodeLease(held)))).toBe('95a763692f6c6f636b07cd7530a26d65cb4278bcfe56800000')
  expect(hex(encode(encodeLease({ ...held, owner: undefined })))).toBe(
    '95a763692f6c6f636b07cd7530c0cb4278bcfe56800000',
  )
  // As it was written before it had a time.
  expect(hex(encode(encodeLease(old)))).toBe('94a763692f6c6f636b07cd7530a26d65')
  expect(decodeLease(['ci/lock', 7, 30_000, 'me'])).toEqual(old)
  expect(leasePath(key)).toEqual([
    'leases',
    '82c0bb3662d2a70475d8478d0ce8182c046f0f10feddf103c5609308939633d2',
  ])
  expect(decodeLease(encodeLease(held))).toEqual(held)
  const named = { ...held, takeId: 't' }
  expect(decodeLease(encodeLease(named))).toEqual(named)
  const undated = { ...named, renewed: undefined }
  expect(hex(encode(encodeLease(undated)))).toBe('96a763692f6c6f636b07cd7530a26d65c0a174')
  expect(decodeLease(encodeLease(undated))).toEqual(undated)
})

it('an expiry is [at, sliding, filed]', () => {
  const expires = { at: 1_700_000_060_000, sliding: 60_000, filed: 1_700_000_000_000 }
  expect(hex(encode(encodeExpires(expires)))).toBe('93cb4278bcfe65260000cdea60cb4278bcfe56800000')
  expect(decodeExpires(encodeExpires(expires))).toEqual(expires)
})

it.each([
  [],
  ['k'],
  ['k', -1, 1, null],
  ['k', 1, 1.5, null],
  [1, 1, 1, null],
  ['k', 1, 1, 2],
  ['k', 1, 1, null, 'x'],
  ['k', 1, 1, null, 1, 2],
  ['k', 1, 1, null, null, null],
])('the record of a lease that is %j is ECORRUPT', (...record) => {
  expect(() => decodeLease(record)).toThrow(expect.objectContaining({ code: 'ECORRUPT' }))
})

it.each([[], [1, 2], [1, 2, -3], ['1', 2, 3]])(
  'the record of an expiry that is %j is ECORRUPT',
  (...record) => {
    expect(() => decodeExpires(record)).toThrow(expect.objectContaining({ code: 'ECORRUPT' }))
  },
)

it('they stand in the tree where rfc/9 says, and nothing of them is left when they went', async () => {
  const clock = new TestClock()
  const engine = new MemoryEngine(clock)
  store = await openOn(engine, { environment: clock })
  const nodes = new Nodes(new Content(engine))
  const meta = async () => {
    const head = await engine.root('primary')
    if (!head) throw new Error('primary is always there')
    return (await readRoot(nodes, head.root.ref)).meta
  }
  const before = await meta()
  const at = clock.now() + 60_000
  const long = 'k'.repeat(200)
  const key = `${long}/${long}/${long}` as Key
  await store.append(key, 'v', { ttl: 60_000, sliding: true })
  const take = { op: 'lease', key, action: 'take', ttl: 1_000, owner: 'me' } as const
  const { results } = await store.commit({ ops: [take] })
  // Longer than a record's part.
  expect(await readRecord(nodes, await meta(), leasePath(key))).toEqual([
    key,
    2,
    1_000,
    'me',
    clock.now(),
  ])
  expect(await readRecord(nodes, await meta(), ['expiry', long, long, long])).toEqual([
    at,
    60_000,
    at,
  ])
  const order = []
  for await (const entry of readRecords(nodes, await meta(), ['expiry-order'])) order.push(entry)
  const hash = leasePath(key)[1]
  expect(order).toEqual([[`${at.toString(16).padStart(12, '0')}-${hash}`, [key]]])
  const token = results[0]?.token
  if (!token) throw new Error('a take answers its token')
  await store.commit({
    ops: [
      { op: 'lease', key, action: 'release', token },
      { op: 'unlink', key },
    ],
  })
  expect(await meta()).toEqual(before)
})
