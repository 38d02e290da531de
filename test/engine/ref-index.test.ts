/** The index from refs to places, and the table of segments, against simple models: what waits, what is
 *  written and what is read again. See rfc/4, rules 17 and 18. */

import fc from 'fast-check'
import { beforeAll, beforeEach, expect, test } from 'vitest'
import { encode } from '../../src/blob/codec.js'
import type { Flushed } from '../../src/engine/flush.js'
import type { OpenTables } from '../../src/engine/lmdb.js'
import { uint64 } from '../../src/engine/record.js'
import { RefIndex } from '../../src/engine/ref-index.js'
import { SegmentTable } from '../../src/engine/segment-table.js'
import { Writes } from '../../src/engine/tables.js'
import type { Place } from '../../src/journal/place.js'
import { blobOf, openTestTables } from './fixture.js'

let tables: OpenTables
beforeAll(async () => {
  const opened = await openTestTables()
  tables = opened.tables
  return opened.close
})
beforeEach(() => empty())

async function empty(): Promise<void> {
  const writes = new Writes()
  for (const table of [tables.index, tables.segments]) {
    for (const key of [...table.keys({})]) writes.remove(table, Buffer.from(key))
  }
  await tables.write(writes)
}

/** Writes the first changes that are frozen, so many quarters of them. */
async function writeShare(part: Flushed, share: number): Promise<void> {
  const all = [...part.thaw()]
  const writes = new Writes()
  for (const add of all.slice(0, Math.ceil((all.length * share) / 4))) add(writes)
  await tables.write(writes)
}

async function flushAll(part: Flushed): Promise<void> {
  part.freeze()
  await writeShare(part, 4)
  part.release()
}

const refs = Array.from({ length: 30 }, (_, n) => blobOf(`${n}`).ref)
const place: fc.Arbitrary<Place> = fc.record({
  segment: fc.integer({ min: 1, max: 2 ** 40 }),
  offset: fc.integer({ min: 0, max: 0xffff_ffff }),
  length: fc.integer({ min: 0, max: 0xffff_ffff }),
})

/** The points of a flush, in any order: those that do not fit the state are passed over. */
const flushAct = fc.oneof(
  fc.constant({ act: 'freeze' } as const),
  fc.record({ act: fc.constant('write' as const), share: fc.nat(4) }),
  fc.constant({ act: 'release' } as const),
)
type FlushAct = typeof flushAct extends fc.Arbitrary<infer T> ? T : never

/** Does one act of a flush, if it fits. */
function flusher(part: Flushed) {
  let state: 'none' | 'frozen' | 'written' = 'none'
  return {
    act: async (act: FlushAct) => {
      if (act.act === 'freeze' && state === 'none') {
        part.freeze()
        state = 'frozen'
      } else if (act.act === 'write' && state !== 'none') {
        await writeShare(part, act.share)
        if (act.share === 4) state = 'written'
      } else if (act.act === 'release' && state === 'written') {
        part.release()
        state = 'none'
      }
    },
    end: async () => {
      if (state !== 'none') {
        await writeShare(part, 4)
        part.release()
      }
      await flushAll(part)
    },
  }
}

test('the index gives the last place of each ref, at each point of a flush', async () => {
  const set = fc.record({
    act: fc.constant('set' as const),
    ref: fc.nat(refs.length - 1),
    place: fc.option(place, { freq: 3 }),
  })
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof({ weight: 3, arbitrary: set }, flushAct), { maxLength: 60 }),
      async (acts) => {
        await empty()
        const index = new RefIndex(tables.index)
        const model = new Map<number, Place>()
        const flush = flusher(index)
        const all = (from: RefIndex) => refs.map((ref) => from.get(ref))
        const expected = () => refs.map((_, n) => model.get(n))
        for (const act of acts) {
          if (act.act === 'set') {
            const ref = refs[act.ref]
            if (!ref) continue
            index.set(ref, act.place)
            if (act.place) model.set(act.ref, act.place)
            else model.delete(act.ref)
            expect(index.get(ref)).toEqual(act.place ?? undefined)
          } else {
            await flush.act(act)
          }
        }
        expect(all(index)).toEqual(expected())
        await flush.end()
        expect(index.waiting).toBe(0)
        expect(all(index)).toEqual(expected())
        expect(all(new RefIndex(tables.index))).toEqual(expected()) // opened again
        expect([...tables.index.keys({})].length).toBe(model.size)
      },
    ),
    { numRuns: 60 },
  )
})

test('the index brings its entries in the order of the table', () => {
  const index = new RefIndex(tables.index)
  for (const ref of refs) index.set(ref, { segment: 1, offset: 2, length: 3 })
  index.freeze()
  const writes = new Writes()
  for (const add of index.thaw()) add(writes)
  const keys = writes.list.map(({ key }) => Buffer.from(key).toString('hex'))
  expect(keys).toEqual([...keys].sort())
  expect(keys.length).toBe(refs.length)
})

test('a segment has the bytes that were added to it, at each point of a flush', async () => {
  const id = fc.integer({ min: 1, max: 6 })
  const change = fc.oneof(
    fc.record({ act: fc.constant('add' as const), id, size: fc.nat(1_000) }),
    fc.record({ act: fc.constant('take' as const), id, share: fc.nat(100) }),
    fc.record({ act: fc.constant('set' as const), id, size: fc.nat(1_000) }),
    fc.record({ act: fc.constant('remove' as const), id }),
  )
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof({ weight: 3, arbitrary: change }, flushAct), { maxLength: 60 }),
      async (acts) => {
        await empty()
        const segments = new SegmentTable(tables.segments)
        segments.rebuild()
        const model = new Map<number, number>()
        const flush = flusher(segments)
        const matches = (table: SegmentTable) => {
          const ids = [...model.keys()].sort((a, b) => a - b)
          expect(table.ids).toEqual(ids)
          expect(ids.map((each) => table.live(each))).toEqual(ids.map((each) => model.get(each)))
          expect(table.stored).toBe([...model.values()].reduce((sum, size) => sum + size, 0))
          expect([1, 2, 3, 4, 5, 6, 7].map((each) => table.has(each))).toEqual(
            [1, 2, 3, 4, 5, 6, 7].map((each) => model.has(each)),
          )
        }
        for (const act of acts) {
          if (act.act === 'add') {
            segments.add(act.id, act.size)
            model.set(act.id, (model.get(act.id) ?? 0) + act.size)
          } else if (act.act === 'take') {
            const held = model.get(act.id)
            if (held === undefined) continue
            const taken = Math.floor((held * act.share) / 100)
            segments.add(act.id, -taken)
            model.set(act.id, held - taken)
          } else if (act.act === 'set') {
            segments.set(act.id, act.size)
            model.set(act.id, act.size)
          } else if (act.act === 'remove') {
            segments.remove(act.id)
            model.delete(act.id)
          } else {
            await flush.act(act)
          }
          matches(segments)
        }
        await flush.end()
        expect(segments.waiting).toBe(0)
        const again = new SegmentTable(tables.segments)
        again.rebuild()
        matches(again)
      },
    ),
    { numRuns: 60 },
  )
})

test('a segment never has fewer bytes than none', () => {
  const segments = new SegmentTable(tables.segments)
  segments.add(1, 10)
  segments.add(1, -30)
  expect([segments.live(1), segments.stored]).toEqual([0, 0])
  segments.add(1, 5)
  expect([segments.live(1), segments.stored]).toEqual([5, 5])
})

test.each([
  ['is no count', encode(-1)],
  ['is not msgpack', Buffer.of(0xc1)],
])('a row of a segment that %s is ECORRUPT', async (_, value) => {
  const writes = new Writes()
  writes.put(tables.segments, uint64(1), value)
  await tables.write(writes)
  expect(() => new SegmentTable(tables.segments).rebuild()).toThrow(
    expect.objectContaining({ code: 'ECORRUPT' }),
  )
})
