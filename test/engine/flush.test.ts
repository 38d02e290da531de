/** Flushes of the durable engine (rfc/4, rule 17): the tables follow the journal. A crash at any point
 *  loses nothing, failures are told, and what waits stays bounded. */

import { cp, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Blob } from '../../src/blob/blob.js'
import { sweepRefsMax } from '../../src/engine/engine.js'
import { Flush, positionKey } from '../../src/engine/flush.js'
import { Health } from '../../src/engine/health.js'
import { type OpenTables, openTables } from '../../src/engine/lmdb.js'
import { openLocal } from '../../src/engine/local-open.js'
import { journalName, type LocalBounds, LocalState } from '../../src/engine/local-state.js'
import { PendingTable } from '../../src/engine/pending.js'
import { parsePosition } from '../../src/engine/record.js'
import { parseSweep } from '../../src/engine/sweep.js'
import { type Table, type Tables, Writes } from '../../src/engine/tables.js'
import { WritePace } from '../../src/engine/write-pace.js'
import { type WriteGroup, Writer } from '../../src/engine/writer.js'
import { TailraceError } from '../../src/error.js'
import { journalStart, type Point } from '../../src/journal/place.js'
import { TestClock } from '../clock.js'
import { liveOf, loadable, sizeOf, sweepAll } from './contract-collection.js'
import { blobOf, codeOf, temporaryDirectory } from './fixture.js'

const open = (path: string, bounds: LocalBounds = {}) =>
  openLocal(path, { environment: new TestClock(), bounds })

/** The state of a store, without an engine over it. */
async function openState(directory: string, bounds: LocalBounds = {}) {
  await (await open(directory))[Symbol.asyncDispose]()
  const real = await openTables(directory)
  const tables = new WatchedTables(real)
  const state = await LocalState.open(directory, tables, bounds)
  const close = async () => {
    await state.close()
    await real.close()
  }
  return { state, tables, [Symbol.asyncDispose]: close }
}

/** The tables of a store, with a look at what is on the disk after each transaction. */
class WatchedTables implements Tables {
  readonly #real: OpenTables
  onWritten: () => Promise<void> = async () => {}

  constructor(real: OpenTables) {
    this.#real = real
  }

  get index(): Table {
    return this.#real.index
  }
  get segments(): Table {
    return this.#real.segments
  }
  get roots(): Table {
    return this.#real.roots
  }
  get namespaces(): Table {
    return this.#real.namespaces
  }
  get meta(): Table {
    return this.#real.meta
  }

  async write(writes: Writes): Promise<void> {
    await this.#real.write(writes)
    await this.onWritten()
  }

  writable(): boolean {
    return this.#real.writable()
  }

  close(): Promise<void> {
    return this.#real.close()
  }
}

function groupOf(part: Partial<WriteGroup>): WriteGroup {
  return {
    ...{ writes: new Writes(), blobs: [], moved: [], drops: new Set(), rolls: false },
    ...part,
  }
}

/** Writes a record, and takes it into memory. */
async function store(state: LocalState, part: Partial<WriteGroup>): Promise<void> {
  const write = await state.complete(groupOf(part))
  if (write) await (await write())()
}

/** A copy of a store as a crash would leave it. */
async function crashImage(from: string, to: string): Promise<string> {
  await mkdir(to)
  await cp(join(from, 'data.mdb'), join(to, 'data.mdb'))
  await cp(join(from, journalName), join(to, journalName), { recursive: true })
  return to
}

async function isThere(state: LocalState, blobs: readonly Blob[]): Promise<boolean> {
  const loaded = await state.blobs.load(blobs.map(({ ref }) => ref))
  return loaded.every((bytes, at) => bytes && blobOf(bytes).ref === blobs[at]?.ref)
}

test('a flush beside a record that is not in memory yet does not pass it', async () => {
  await using root = await temporaryDirectory()
  const directory = join(root.path, 'store')
  const blobs = [blobOf('first'), blobOf('second')]
  {
    await using opened = await openState(directory)
    const { state } = opened
    await store(state, { blobs: blobs.slice(0, 1) })
    const write = await state.complete(groupOf({ blobs: blobs.slice(1) }))
    const take = await write?.() // durable, and not in memory
    await state.flush.all()
    await crashImage(directory, join(root.path, 'crashed'))
    await take?.()
    await state.flush.all()
    expect(state.flush.watermark).toEqual(state.journal.end)
  }
  for (const name of ['crashed', 'store']) {
    await using opened = await openState(join(root.path, name))
    expect(await isThere(opened.state, blobs)).toBe(true)
  }
})

test('the watermark never stays in a segment that is removed', async () => {
  await using root = await temporaryDirectory()
  const directory = join(root.path, 'store')
  const blobs = Array.from({ length: 2 * sweepRefsMax }, (_, n) => blobOf(`blob ${n}`))
  {
    await using engine = await open(directory)
    await engine.put(blobs)
    // Collections that go on where another one was do not know the segment whole, and clear it.
    const step = { live: () => false, sparedSince: Number.POSITIVE_INFINITY, dryRun: false }
    for (let after: number | undefined = 0; after !== undefined; ) {
      using collection = engine.beginCollection()
      do after = (await collection.step({ ...step, after, thorough: true })).next
      while (after !== undefined && parseSweep(after).phase === 'move')
    }
    expect(engine.stored).toBe(0)
    await crashImage(directory, join(root.path, 'crashed'))
    expect(await readdir(join(directory, journalName))).toEqual(['segment-000000000002'])
  }
  for (const name of ['crashed', 'store']) {
    await using engine = await open(join(root.path, name))
    expect(engine.stored).toBe(0)
    await engine.put(blobs)
    expect(await loadable(engine, blobs)).not.toContain(false)
  }
})

test('a crash between any two transactions of a flush loses nothing, and brings nothing back', async () => {
  await using root = await temporaryDirectory()
  const directory = join(root.path, 'store')
  const blobs = Array.from({ length: 4_600 }, (_, n) => blobOf(`blob ${n} `.repeat(1 + (n % 3))))
  const [dropped, again, rest] = [blobs.slice(0, 300), blobs.slice(300, 500), blobs.slice(500)]
  const refsOf = (some: readonly Blob[]) => new Set(some.map(({ ref }) => ref))
  const keys = Array.from({ length: 50 }, (_, n) => Buffer.from(`row ${n}`))
  const images: string[] = []
  {
    await using opened = await openState(directory, { segmentSize: 20_000 })
    const { state, tables } = opened
    const row = (key: Buffer, value: string | undefined) => {
      const writes = new Writes()
      if (value) writes.put(state.meta, key, Buffer.from(value))
      else writes.remove(state.meta, key)
      return { writes }
    }
    for (let at = 0; at < 2_300; at += 100) await store(state, { blobs: blobs.slice(at, at + 100) })
    for (const key of keys) await store(state, row(key, 'old'))
    await state.flush.all()
    await store(state, { drops: refsOf([...dropped, ...again]) })
    await store(state, { blobs: blobs.slice(2_300) })
    await store(state, { blobs: again })
    await store(state, { moved: blobs.slice(600, 700) })
    for (const key of keys.slice(0, 25)) await store(state, row(key, 'new'))
    for (const key of keys.slice(25, 40)) await store(state, row(key, undefined))
    tables.onWritten = async () => {
      images.push(await crashImage(directory, join(root.path, `image-${images.length}`)))
    }
    await state.flush.all()
  }
  expect(images.length).toBeGreaterThan(2)
  for (const image of images) {
    {
      await using opened = await openState(image)
      const { state } = opened
      const values = keys.map((key) => state.meta.get(key)?.toString())
      expect(values.slice(0, 25)).toEqual(Array.from({ length: 25 }, () => 'new'))
      expect(values.slice(25, 40)).toEqual(Array.from({ length: 15 }, () => undefined))
      expect(values.slice(40)).toEqual(Array.from({ length: 10 }, () => 'old'))
    }
    await using engine = await open(image)
    expect(await loadable(engine, [...again, ...rest])).not.toContain(false)
    expect(await loadable(engine, dropped)).not.toContain(true)
    // The count may be wrong after the crash; a collection counts again.
    await engine.put([blobOf('the collection looks at what was before')])
    using collection = engine.beginCollection()
    await sweepAll(collection, { live: liveOf([...again, ...rest]) })
    expect(engine.stored).toBe(sizeOf([...again, ...rest]))
    expect(await loadable(engine, [...again, ...rest])).not.toContain(false)
  }
})

/** A table in memory, whose transactions fail where a test says so. */
class MemoryTables implements Tables {
  readonly rows = new Map<string, string>()
  readonly #table: Table = {
    get: (key) => {
      const value = this.rows.get(Buffer.from(key).toString())
      return value === undefined ? undefined : Buffer.from(value, 'latin1')
    },
    keys: () => [...this.rows.keys()].sort().map((key) => Buffer.from(key)),
  }
  readonly index = this.#table
  readonly segments = this.#table
  readonly roots = this.#table
  readonly namespaces = this.#table
  readonly meta = this.#table
  failing = false
  tries = 0

  async write(writes: Writes): Promise<void> {
    this.tries++
    await Promise.resolve()
    if (this.failing) throw new Error('Input/output error')
    for (const { key, value } of writes.list) {
      const text = Buffer.from(key).toString()
      if (value) this.rows.set(text, Buffer.from(value).toString('latin1'))
      else this.rows.delete(text)
    }
  }

  writable(): boolean {
    return true
  }

  async close(): Promise<void> {}
}

/** A flush of one table, and the commits that change it. */
function flushOf(tables: MemoryTables, count: number) {
  const table = new PendingTable(tables.roots)
  let end: Point = journalStart
  const flush = new Flush({
    tables,
    parts: [table],
    end: () => end,
    watermark: end,
    count,
    diagnose: async () => new TailraceError('ENOSPC', 'no space'),
  })
  let n = 0
  const apply = (changes: number) => {
    for (let change = 0; change < changes; change++)
      table.apply(Buffer.from(`key ${n++}`), Buffer.from('value'))
    end = { ...end, offset: end.offset + 100, number: end.number + 1 }
  }
  return {
    flush,
    table,
    apply,
    /** A commit with some changes; one that frees space goes on without the tables. */
    commit: async (changes: number, frees = false) => {
      const code = await codeOf(flush.after())
      if (code === 'no error' || frees) apply(changes)
      return code
    },
    get end() {
      return end
    },
    get count() {
      return n
    },
  }
}

test('a flush of everything ends beside changes that keep coming', async () => {
  class Busy extends MemoryTables {
    override async write(writes: Writes): Promise<void> {
      await super.write(writes)
      if (this.tries < 100) commits.apply(1)
    }
  }
  const tables = new Busy()
  const commits = flushOf(tables, 80)
  commits.apply(4)
  await commits.flush.all()
  expect([0, 1, 2, 3].filter((n) => !tables.rows.has(`key ${n}`))).toEqual([])
  expect(tables.tries).toBeLessThan(5)
})

test('while flushes fail, what waits stays bounded, and a later success heals', async () => {
  const tables = new MemoryTables()
  const count = 80
  const commits = flushOf(tables, count)
  tables.failing = true
  const codes: string[] = []
  for (let turn = 0; turn < 200; turn++) {
    codes.push(await commits.commit(4))
    await commits.flush.idle()
    expect(commits.flush.waiting).toBeLessThanOrEqual(2 * count + 4)
  }
  expect(codes.slice(0, 40)).toEqual(Array.from({ length: 40 }, () => 'no error'))
  expect(codes.slice(-100)).toEqual(Array.from({ length: 100 }, () => 'ENOSPC'))
  expect(tables.rows.size).toBe(0)
  // Below the bound it is not tried with each commit.
  expect(tables.tries).toBeLessThan(200)

  // Those that free space go on.
  const before = commits.count
  for (let turn = 0; turn < 10; turn++) expect(await commits.commit(1, true)).toBe('ENOSPC')
  expect(commits.count).toBe(before + 10)
  expect(await codeOf(commits.flush.all())).toBe('ENOSPC')

  tables.failing = false
  for (let turn = 0; turn < 100; turn++) expect(await commits.commit(4)).toBe('no error')
  await commits.flush.idle()
  expect(commits.flush.waiting).toBeLessThan(2 * count)
  await commits.flush.all()
  expect(commits.flush.waiting).toBe(0)
  expect(commits.flush.watermark).toEqual(commits.end)
  expect(tables.rows.size).toBe(commits.count + 1) // and the watermark
})

test('while flushes fail, commits are ENOSPC, and those that free space go on', async () => {
  await using directory = await temporaryDirectory()
  const tables = new MemoryTables()
  const commits = flushOf(tables, 8)
  const writer = new Writer({
    ...{ health: new Health(directory.path), pace: new WritePace() },
    ...{ directory: directory.path, stored: () => 0 },
    ready: () => commits.flush.after(),
    complete: async () => async () => {
      commits.apply(4)
      return async () => {}
    },
  })
  const submit = (frees: boolean) =>
    writer.submit({ names: [], blobs: [], frees, plan: () => () => 'done' })
  tables.failing = true
  for (let turn = 0; turn < 8; turn++) await submit(false)
  const full = { stored: false, applied: 'no', error: { code: 'ENOSPC' } }
  const done = { stored: true, value: 'done' }
  // In turn, and as one group.
  for (const frees of [false, true, false]) {
    expect(await submit(frees)).toMatchObject(frees ? done : full)
  }
  const answers = await Promise.all([true, false, true].map(submit))
  expect(answers).toMatchObject([done, full, done])
  tables.failing = false
  expect(await submit(false)).toMatchObject(done)
  await writer.drained()
  await commits.flush.all()
  expect(commits.flush.waiting).toBe(0)
})

test('a flush that fails now and then brings everything over in the end, in the order of its changes', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ fails: fc.boolean(), changes: fc.nat(30), key: fc.nat(40) }), {
        maxLength: 40,
      }),
      async (steps) => {
        const tables = new MemoryTables()
        const commits = flushOf(tables, 20)
        const model = new Map<string, string>()
        const counts: number[] = []
        for (const [n, { fails, changes, key }] of steps.entries()) {
          tables.failing = fails
          const code = await commits.commit(changes)
          commits.table.apply(Buffer.from(`own ${key}`), n % 5 ? Buffer.from(`${n}`) : undefined)
          if (n % 5) model.set(`own ${key}`, `${n}`)
          else model.delete(`own ${key}`)
          if (code !== 'no error') expect(fails || commits.flush.waiting > 20).toBe(true)
          // The tables have all that their watermark says.
          const watermark = tables.meta.get(positionKey)
          const known = watermark ? (counts[parsePosition(watermark).number] ?? 0) : 0
          for (let at = 0; at < known; at++) expect(tables.rows.has(`key ${at}`)).toBe(true)
          counts[commits.end.number] = commits.count
        }
        tables.failing = false
        await commits.flush.idle()
        await commits.flush.all()
        const own = [...tables.rows].filter(([key]) => key.startsWith('own'))
        expect(new Map(own)).toEqual(model)
        expect([...tables.rows.keys()].filter((key) => key.startsWith('key')).length).toBe(
          commits.count,
        )
      },
    ),
    { numRuns: 60 },
  )
})
