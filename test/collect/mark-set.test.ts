/** What a mark remembers, lists of refs, uploads, and the record of collections: their own edges. */

import { expect, test } from 'vitest'
import type { Blobref } from '../../src/blob/blobref.js'
import { encode } from '../../src/blob/codec.js'
import { hashBlob } from '../../src/blob/hash.js'
import { MarkSet } from '../../src/collect/mark-set.js'
import { RefList } from '../../src/collect/ref-list.js'
import { lentMax, lentMs, Upload, Uploads, uploadRefsMax } from '../../src/kvs/uploads.js'
import { decodeCollection, encodeCollection } from '../../src/present/collection.js'
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

test('an upload keeps what it noted, for the collections that begin while it is open', () => {
  const clock = new TestClock()
  const uploads = new Uploads(clock)
  const [one, two, later] = [refOf('one'), refOf('two'), refOf('later')]
  const kept = () => {
    const open = uploads.underWay()
    return [one, two, later].map(open.has)
  }
  const first = uploads.begin()
  first.note([one])
  const second = uploads.begin()
  second.note([two])
  expect(kept()).toEqual([true, true, false])
  const open = uploads.underWay()
  expect(open.since).toBe(Number.POSITIVE_INFINITY)
  first[Symbol.dispose]()
  first[Symbol.dispose]()
  expect(kept()).toEqual([false, true, false])
  expect([one, two, later].map(open.has)).toEqual([true, true, false])
})

test('an upload of too many refs to note keeps all puts since it began', () => {
  const clock = new TestClock()
  const began = clock.monotonic()
  const upload = new Upload(began, () => {})
  const refs = function* (from: number, to: number) {
    for (let at = from; at < to; at++) {
      const word = Math.imul(at, 0x9e3779b1) >>> 0
      yield `blake3-${word.toString(16).padStart(8, '0').repeat(8)}` as Blobref
    }
  }
  upload.note(refs(0, uploadRefsMax - 1))
  expect(upload.since).toBe(Number.POSITIVE_INFINITY)
  upload.note(refs(uploadRefsMax, uploadRefsMax + 10))
  expect(upload.since).toBe(began)
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
