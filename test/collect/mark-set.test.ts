/** What a mark remembers, lists of refs, uploads, and the record of collections: their own edges. */

import { expect, test } from 'vitest'
import { encode } from '../../src/blob/codec.js'
import { hashBlob } from '../../src/blob/hash.js'
import { RefList } from '../../src/blob/ref-list.js'
import { MarkSet } from '../../src/collect/mark-set.js'
import { lentMax, lentMs, Uploads } from '../../src/kvs/uploads.js'
import { decodeCollection, encodeCollection } from '../../src/transaction/collection-record.js'
import { TestClock } from '../clock.js'

const refOf = (name: string) => hashBlob(Buffer.from(name))

test('a mark set tells what is needed from what was walked', () => {
  const set = new MarkSet()
  const [node, partial, lie, none] = ['node', 'partial', 'lie', 'none'].map(refOf)
  if (!node || !partial || !lie || !none) throw new Error('four refs')
  set.add({ ref: node, kind: 'node' })
  set.add({ ref: partial, kind: 'node', partial: true })
  // A node that some treeobj calls a blob: it must be walked still, where it is met as a node.
  set.add({ ref: lie, kind: 'blob' })
  expect([node, partial, lie, none].map((ref) => set.has(ref))).toEqual([true, true, true, false])
  expect([node, partial, lie, none].map((ref) => set.isWalked(ref))).toEqual([
    ...[true, false, false, false],
  ])
  expect(set.count).toBe(3)
  set.add({ ref: lie, kind: 'node' })
  expect(set.isWalked(lie)).toBe(true)
  expect(set.count).toBe(3)
})

test('a mark set of many refs has each of them and no other', () => {
  const set = new MarkSet()
  const refs = Array.from({ length: 20_000 }, (_, i) => refOf(`ref ${i}`))
  for (const ref of refs.slice(0, 10_000)) set.add({ ref, kind: 'node' })
  expect(refs.filter((ref) => set.has(ref))).toEqual(refs.slice(0, 10_000))
})

test('a list gives back what was pushed, in order, over pieces of memory', () => {
  const list = new RefList()
  const refs = Array.from({ length: 9_000 }, (_, i) => refOf(`${i}`))
  for (const ref of refs) list.push(ref)
  expect(list.count).toBe(9_000)
  expect([...list]).toEqual(refs)
  expect([...new RefList()]).toEqual([])
})

test('the oldest upload that is open says since when puts are spared', () => {
  const clock = new TestClock()
  const uploads = new Uploads(clock)
  expect(uploads.since).toBe(Number.POSITIVE_INFINITY)
  const began = clock.monotonic()
  const first = uploads.begin()
  clock.advance(10)
  const second = uploads.begin()
  expect(uploads.since).toBe(began)
  first[Symbol.dispose]()
  first[Symbol.dispose]()
  expect(uploads.since).toBe(began + 10)
  second[Symbol.dispose]()
  expect(uploads.since).toBe(Number.POSITIVE_INFINITY)
})

test('a lent blob is kept for its time, from when it was lent last; the oldest go first', () => {
  const clock = new TestClock()
  const uploads = new Uploads(clock)
  const [one, two] = [refOf('one'), refOf('two')]
  uploads.lend(one)
  uploads.lend(two)
  clock.advance(lentMs - 1)
  uploads.lend(two)
  expect([one, two].map((ref) => uploads.isLent(ref))).toEqual([true, true])
  clock.advance(1)
  expect([one, two].map((ref) => uploads.isLent(ref))).toEqual([false, true])
  for (let i = 0; i < lentMax; i++) uploads.lend(refOf(`${i % (lentMax + 1)}`))
  expect(uploads.isLent(two)).toBe(false)
})

test('the record of collections has its golden bytes', () => {
  const record = {
    ...{ running: true, after: 70_000, thorough: false },
    ...{ forgets: 2, covered: 1, swept: 1, left: 300 },
  }
  const fields = encodeCollection(record)
  expect(encode(fields).toString('hex')).toBe('9801c3ce00011170c2020101cd012c')
  expect(decodeCollection(fields)).toEqual(record)
  const corrupt = expect.objectContaining({ code: 'ECORRUPT' })
  for (const broken of [
    [],
    fields.slice(0, 7),
    [2, ...fields.slice(1)],
    [1, 1, ...fields.slice(2)],
  ]) {
    expect(() => decodeCollection(broken)).toThrow(corrupt)
  }
})
