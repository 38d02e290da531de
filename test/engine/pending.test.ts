/** A table with changes that it does not have yet, against a sorted map: every read sees both, at each
 *  point of a flush. See rfc/4, rules 16 and 17. */

import fc from 'fast-check'
import { beforeAll, expect, test } from 'vitest'
import type { OpenTables } from '../../src/engine/lmdb.js'
import { PendingTable } from '../../src/engine/pending.js'
import { type Range, Writes } from '../../src/engine/tables.js'
import { openTestTables } from './fixture.js'

let tables: OpenTables
beforeAll(async () => {
  const opened = await openTestTables()
  tables = opened.tables
  return opened.close
})

/** Keys that are often the same, or a prefix of one another, with bytes of every kind. */
const key = fc
  .array(fc.constantFrom(0, 1, 0x61, 0x7f, 0x80, 0xff), { minLength: 1, maxLength: 3 })
  .map((bytes) => Buffer.from(bytes))
const value = fc.option(
  fc.string({ minLength: 1, maxLength: 3 }).map((text) => Buffer.from(text)),
  { nil: undefined },
)
const limit = fc.integer({ min: 1, max: 5 })
const range: fc.Arbitrary<Range> = fc.oneof(
  fc.record({ start: key, end: key, limit }, { requiredKeys: [] }),
  fc.record(
    { start: key, end: key, reverse: fc.constant(true), limit },
    { requiredKeys: ['start', 'end', 'reverse'] },
  ),
)
const act = fc.oneof(
  { weight: 6, arbitrary: fc.record({ act: fc.constant('apply'), key, value }) },
  { weight: 2, arbitrary: fc.constant({ act: 'freeze' } as const) },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('write'), share: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.constant({ act: 'release' } as const) },
  { weight: 3, arbitrary: fc.record({ act: fc.constant('list'), range }) },
) as fc.Arbitrary<Act>

type Act =
  | { readonly act: 'apply'; readonly key: Buffer; readonly value: Buffer | undefined }
  | { readonly act: 'freeze' }
  /** Writes so many quarters of the frozen changes into the table. */
  | { readonly act: 'write'; readonly share: number }
  | { readonly act: 'release' }
  | { readonly act: 'list'; readonly range: Range }

type Model = ReadonlyMap<string, string>

/** The keys of a range, the simple way. */
function keysOf(model: Model, { start, end, reverse, limit }: Range): string[] {
  const [from, to] = [start, end].map((bytes) => bytes && Buffer.from(bytes).toString('hex'))
  const sorted = [...model.keys()].sort()
  const ordered = reverse ? sorted.reverse() : sorted
  const isIn = (text: string) =>
    reverse
      ? (from === undefined || text <= from) && (to === undefined || text > to)
      : (from === undefined || text >= from) && (to === undefined || text < to)
  return ordered.filter(isIn).slice(0, limit)
}

function listed(table: PendingTable, asked: Range): string[] {
  return [...table.keys(asked)].map((found) => found.toString('hex'))
}

async function empty(): Promise<void> {
  const writes = new Writes()
  for (const old of [...tables.roots.keys({})]) writes.remove(tables.roots, Buffer.from(old))
  await tables.write(writes)
}

async function writeShare(table: PendingTable, share: number): Promise<void> {
  const all = [...table.thaw()]
  const writes = new Writes()
  for (const add of all.slice(0, Math.ceil((all.length * share) / 4))) add(writes)
  await tables.write(writes)
}

test('reads see what the table has and what it does not have yet, at each point of a flush', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 40 }), fc.array(range), async (acts, ranges) => {
      await empty()
      const table = new PendingTable(tables.roots)
      const model = new Map<string, string>()
      let frozen: 'none' | 'frozen' | 'written' = 'none'
      for (const step of acts) {
        if (step.act === 'apply') {
          table.apply(step.key, step.value)
          const text = step.key.toString('hex')
          if (step.value) model.set(text, step.value.toString())
          else model.delete(text)
          expect(table.get(step.key)?.toString()).toBe(step.value?.toString())
        } else if (step.act === 'freeze' && frozen === 'none') {
          table.freeze()
          frozen = 'frozen'
        } else if (step.act === 'write' && frozen !== 'none') {
          await writeShare(table, step.share)
          if (step.share === 4) frozen = 'written'
        } else if (step.act === 'release' && frozen === 'written') {
          table.release()
          frozen = 'none'
        } else if (step.act === 'list') {
          expect(listed(table, step.range)).toEqual(keysOf(model, step.range))
        }
      }
      for (const asked of [{}, ...ranges]) {
        expect(listed(table, asked)).toEqual(keysOf(model, asked))
      }
      for (const [text, held] of model) {
        expect(table.get(Buffer.from(text, 'hex'))?.toString()).toBe(held)
      }
      // Brought over whole, the table itself is what the reads saw.
      if (frozen !== 'none') {
        await writeShare(table, 4)
        table.release()
      }
      table.freeze()
      await writeShare(table, 4)
      table.release()
      expect(table.waiting).toBe(0)
      const stored = [...tables.roots.keys({})].map((found) => found.toString('hex'))
      expect(stored).toEqual(keysOf(model, {}))
      expect(listed(table, ranges[0] ?? {})).toEqual(keysOf(model, ranges[0] ?? {}))
    }),
    { numRuns: 120 },
  )
})

test('the number of waiting changes is that of changed keys', () => {
  const table = new PendingTable(tables.meta)
  for (const name of ['a', 'b', 'a']) table.apply(Buffer.from(name), Buffer.from('1'))
  expect(table.waiting).toBe(2)
  table.freeze()
  table.apply(Buffer.from('a'), undefined)
  expect(table.waiting).toBe(3)
  table.release()
  expect(table.waiting).toBe(1)
})

test('a change that comes while changes are written is not forgotten with them', async () => {
  await empty()
  const table = new PendingTable(tables.roots)
  const name = Buffer.from('k')
  table.apply(name, Buffer.from('old'))
  table.freeze()
  table.apply(name, undefined)
  await writeShare(table, 4)
  table.release()
  expect(table.get(name)).toBe(undefined)
  expect(listed(table, {})).toEqual([])
  expect(tables.roots.get(name)?.toString()).toBe('old')
})
