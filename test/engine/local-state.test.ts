/** The state of the durable engine against the simplest model, a map of blobs and one of rows: what is
 *  there after any order of records, flushes, openings and crashes. See rfc/4, rules 14 to 18. */

import { cp, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Blob } from '../../src/blob/blob.js'
import { openTables } from '../../src/engine/lmdb.js'
import { openLocal } from '../../src/engine/local-open.js'
import { journalName, LocalState } from '../../src/engine/local-state.js'
import { Writes } from '../../src/engine/tables.js'
import type { WriteGroup } from '../../src/engine/writer.js'
import { TestClock } from '../clock.js'
import { liveOf, sizeOf, sweepAll } from './contract-collection.js'
import { blobOf, temporaryDirectory } from './fixture.js'

const bounds = { flushCount: 12, segmentSize: 1_500 }
const blobs = Array.from({ length: 24 }, (_, n) => blobOf(`blob ${n} `.repeat(n)))
const keys = Array.from({ length: 6 }, (_, n) => Buffer.from(`row ${n}`))

async function openState(directory: string) {
  const tables = await openTables(directory)
  const state = await LocalState.open(directory, tables, bounds)
  const close = async () => {
    await state.close()
    await tables.close()
  }
  return { state, close }
}

async function store(state: LocalState, part: Partial<WriteGroup>): Promise<void> {
  const group = {
    ...{ writes: new Writes(), blobs: [], moved: [], drops: new Set<Blob['ref']>(), rolls: false },
    ...part,
  }
  const write = await state.complete(group)
  if (write) await (await write())()
  await state.flush.after()
}

const some = fc.uniqueArray(fc.nat(blobs.length - 1), { minLength: 1, maxLength: 6 })
const act = fc.oneof(
  { weight: 5, arbitrary: fc.record({ act: fc.constant('put' as const), some }) },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('drop' as const), some }) },
  { weight: 2, arbitrary: fc.record({ act: fc.constant('move' as const), some }) },
  {
    weight: 2,
    arbitrary: fc.record({
      act: fc.constant('row' as const),
      key: fc.nat(keys.length - 1),
      value: fc.option(fc.string({ minLength: 1, maxLength: 5 })),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ act: 'roll' } as const) },
  { weight: 1, arbitrary: fc.constant({ act: 'flush' } as const) },
  { weight: 1, arbitrary: fc.constant({ act: 'reopen' } as const) },
  { weight: 1, arbitrary: fc.constant({ act: 'crash' } as const) },
)

test('what was stored is there after any flushes, openings and crashes', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(act, { minLength: 10, maxLength: 40 }), async (acts) => {
      await using root = await temporaryDirectory()
      let directory = join(root.path, 'store')
      const made = await openLocal(directory, { environment: new TestClock() })
      await made[Symbol.asyncDispose]()
      let opened = await openState(directory)
      const there = new Map<Blob['ref'], Blob>()
      const rows = new Map<number, string>()
      const picked = (which: readonly number[]) => blobs.filter((_, n) => which.includes(n))
      for (const step of acts) {
        const { state } = opened
        if (step.act === 'put') {
          await store(state, { blobs: picked(step.some) })
          for (const blob of picked(step.some)) there.set(blob.ref, blob)
        } else if (step.act === 'drop') {
          const dropped = picked(step.some).map(({ ref }) => ref)
          await store(state, { drops: new Set(dropped) })
          for (const ref of dropped) there.delete(ref)
        } else if (step.act === 'move') {
          await store(state, { moved: picked(step.some).filter(({ ref }) => there.has(ref)) })
        } else if (step.act === 'row') {
          const key = keys[step.key] ?? Buffer.of()
          const writes = new Writes()
          if (step.value === null) writes.remove(state.meta, key)
          else writes.put(state.meta, key, Buffer.from(step.value))
          await store(state, { writes })
          if (step.value === null) rows.delete(step.key)
          else rows.set(step.key, step.value)
        } else if (step.act === 'roll') {
          await store(state, { rolls: true })
        } else if (step.act === 'flush') {
          await state.flush.all()
        } else if (step.act === 'reopen') {
          await opened.close()
          opened = await openState(directory)
        } else {
          await state.flush.idle()
          const image = `${directory}-crashed`
          await mkdir(image)
          await cp(join(directory, 'data.mdb'), join(image, 'data.mdb'))
          await cp(join(directory, journalName), join(image, journalName), { recursive: true })
          await opened.close()
          directory = image
          opened = await openState(directory)
        }
        const { state: now } = opened
        const loaded = await now.blobs.load(blobs.map(({ ref }) => ref))
        expect(loaded.map((bytes) => bytes && blobOf(bytes).ref)).toEqual(
          blobs.map(({ ref }) => (there.has(ref) ? ref : undefined)),
        )
        expect(keys.map((key) => now.meta.get(key)?.toString())).toEqual(
          keys.map((_, n) => rows.get(n)),
        )
        // No transaction of the tables was cut off: the count is exact.
        expect(now.segments.stored).toBe(sizeOf([...there.values()]))
      }
      await opened.close()
      await using engine = await openLocal(directory, { environment: new TestClock(), bounds })
      using collection = engine.beginCollection()
      await sweepAll(collection, { live: liveOf([...there.values()]) })
      expect(engine.stored).toBe(sizeOf([...there.values()]))
      const loaded = await engine.load(blobs.map(({ ref }) => ref))
      expect(loaded.map((bytes) => bytes && blobOf(bytes).ref)).toEqual(
        blobs.map(({ ref }) => (there.has(ref) ? ref : undefined)),
      )
    }),
    { numRuns: 15 },
  )
})
