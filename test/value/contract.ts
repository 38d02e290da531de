/** The contract of packed values. Opens, copies, reads and writes are counted. See rfc/23, rules 5 to 14. */

import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import type { Codec, LedgerView } from '../../src/api/value.js'
import { deferred } from '../../src/base/deferred.js'
import { newTimings } from '../../src/value/timings.js'
import { openValues } from '../../src/value/values.js'

type Opened = { readonly store: Store; readonly close: () => Promise<void> }
type Row = { readonly id: number; readonly name: string }

const rows: readonly Row[] = [
  { id: 1, name: 'a' },
  { id: 2, name: 'b' },
]
const MiB = 1024 * 1024
/** The memory of an opened value of so many packed bytes, 16 of which are the head. */
const openedOf = (size: number) => 4 * (size - 16)

export function valuesContract(name: string, make: () => Promise<Opened>): void {
  describe(`values: ${name}`, () => {
    let opened: Opened
    let store: Store
    beforeEach(async () => {
      opened = await make()
      store = opened.store
    })
    afterEach(() => opened.close())

    const storeRows = async (key = 'rows') => {
      await (await openValues().pack(rows)).store(store, key)
    }
    const countsOf = ({ counts }: LedgerView) => counts

    it('a packed value that is stored is opened elsewhere', async () => {
      const values = openValues()
      const made = await values.pack(rows)
      expect(made.source).toBeUndefined()
      await made.store(store, 'rows')
      expect(made.source).toEqual({ key: 'rows' })
      const there = openValues().from<Row[]>(store, 'rows')
      expect(await there.use((all) => all.map((row) => row.name))).toEqual(['a', 'b'])
      expect(there.size).toBe(made.size)
    })

    it('of() makes a value of packed bytes, and reads nothing', async () => {
      await storeRows()
      const bytes = await openValues().from(store, 'rows').bytes()
      const values = openValues({ packedMax: bytes.length })
      const value = await values.of<Row[]>(bytes)
      expect(value).toMatchObject({ source: undefined, size: bytes.length })
      expect(await value.bytes()).toBe(bytes)
      expect(await value.use((all) => all.map((row) => row.name))).toEqual(['a', 'b'])
      expect(countsOf(values.ledger())).toMatchObject({ fetches: 0, opens: 1, copies: 0 })
      expect(values.ledger().packed.used).toBe(bytes.length)
      await expect(values.of(bytes, { wait: 'fail' })).rejects.toMatchObject({ code: 'EBUSY' })
      for (const none of [new Uint8Array(), Buffer.from('text'), bytes.subarray(0, 4)]) {
        await expect(values.of(none)).rejects.toMatchObject({ code: 'ECORRUPT' })
      }
    })

    it('from() reads nothing; a small value is opened with one read', async () => {
      await storeRows()
      const values = openValues()
      const value = values.from<Row[]>(store, 'rows')
      expect(countsOf(values.ledger()).fetches).toBe(0)
      await value.use(() => {})
      expect(countsOf(values.ledger())).toMatchObject({ fetches: 1, opens: 1, copies: 0 })
    })

    it('eight who ask at the same time open once', async () => {
      await storeRows()
      const values = openValues()
      const value = values.from<Row[]>(store, 'rows')
      const seen = await Promise.all(Array.from({ length: 8 }, () => value.use((all) => all)))
      expect(new Set(seen).size).toBe(1)
      await value.use((all) => expect(all).toBe(seen[0]))
      expect(countsOf(values.ledger())).toMatchObject({ fetches: 1, opens: 1 })
    })

    it('two tasks that start at the same time and need one input open it once', async () => {
      await storeRows('input')
      await storeRows('one')
      await storeRows('two')
      const values = openValues()
      const input = values.from<Row[]>(store, 'input')
      const task = (own: string) =>
        values.useAll([input, values.from<Row[]>(store, own)], (a, b) => a.length + b.length)
      expect(await Promise.all([task('one'), task('two')])).toEqual([4, 4])
      expect(countsOf(values.ledger())).toMatchObject({ fetches: 3, opens: 3 })
      expect(values.ledger().opened.used).toBeGreaterThan(0)
    })

    it('forwarding A → B → C opens nothing and moves nothing', async () => {
      await storeRows('a')
      const values = openValues()
      const b = await values.from<Row[]>(store, 'a').store(store, 'b')
      const c = await b.store(store, 'c')
      expect(countsOf(values.ledger())).toMatchObject({
        fetches: 0,
        opens: 0,
        copies: 0,
        stores: 2,
      })
      expect((await store.stat('c'))?.ref).toBe((await store.stat('a'))?.ref)
      expect(await c.use((all) => all)).toEqual(rows)
    })

    it('forwarding to another store streams, and opens nothing', async () => {
      const other = await make()
      try {
        const values = openValues()
        const data = Buffer.alloc(5 * MiB, 'x')
        await (await values.pack(data, 'bytes')).store(store, 'big')
        const forwarding = openValues()
        const there = await forwarding.from(store, 'big').store(other.store, 'big')
        expect(countsOf(forwarding.ledger())).toMatchObject({ opens: 0, copies: 0 })
        expect(forwarding.ledger().packed.highest).toBe(0)
        expect(await there.use((bytes) => data.equals(bytes as Uint8Array))).toBe(true)
      } finally {
        await other.close()
      }
    })

    it('later reads see the value of the first one, whatever is put there', async () => {
      await storeRows()
      const values = openValues({ openedMax: 1 })
      const value = values.from<Row[]>(store, 'rows')
      await value.use(() => {})
      await (await values.pack(['other'])).store(store, 'rows')
      await values.from(store, 'rows').use((all) => expect(all).toEqual(['other']))
      expect(await value.use((all) => all)).toEqual(rows)
      expect(Buffer.concat(await all(value.stream())).equals(await value.bytes())).toBe(true)
    })

    it('a typed array is a view of the bytes that were read', async () => {
      const numbers = Float64Array.from({ length: 100_000 }, (_, at) => at / 3)
      await (await openValues().pack(numbers, 'array')).store(store, 'numbers')
      const values = openValues()
      const value = values.from<Float64Array>(store, 'numbers')
      await value.use((back) => expect(back).toEqual(numbers))
      expect(countsOf(values.ledger())).toMatchObject({ opens: 1, copies: 0 })
    })

    it('a typed array that was just packed is not opened again', async () => {
      const values = openValues()
      const numbers = new Float64Array([1, 2])
      const value = await values.pack(numbers, 'array')
      await value.use((same) => expect(same).toBe(numbers))
      expect(countsOf(values.ledger())).toMatchObject({ opens: 0, copies: 0 })
    })

    it('what a store has is forgotten, not written, and fetched again', async () => {
      await storeRows('a')
      await storeRows('b')
      const size = (await store.stat('a'))?.size ?? 0
      const values = openValues({ openedMax: 4 * size })
      const [a, b] = [values.from<Row[]>(store, 'a'), values.from<Row[]>(store, 'b')]
      await a.use(() => {})
      await b.use(() => {})
      await a.use((all) => expect(all).toEqual(rows))
      expect(countsOf(values.ledger())).toMatchObject({
        opens: 3,
        fetches: 3,
        spills: 0,
        stores: 0,
      })
      expect(values.ledger().opened.highest).toBeLessThanOrEqual(4 * size)
    })

    it('packed bytes that no store has are spilled once, those that one has never', async () => {
      const spill = { store, namespace: 'primary' }
      const values = openValues({ packedMax: 3 * MiB, spill })
      const bytes = (fill: string) => Buffer.alloc(2 * MiB, fill)
      const unstored = await values.pack(bytes('a'), 'bytes')
      const stored = await (await values.pack(bytes('b'), 'bytes')).store(store, 'b')
      expect(countsOf(values.ledger()).spills).toBe(1)
      expect(unstored.source?.key).toMatch(/^spill\//)
      const third = await values.pack(bytes('c'), 'bytes')
      expect(countsOf(values.ledger()).spills).toBe(1)
      for (const [value, fill] of [
        [unstored, 'a'],
        [stored, 'b'],
        [third, 'c'],
      ] as const) {
        expect(await value.use((back) => bytes(fill).equals(back as Uint8Array))).toBe(true)
      }
      const { entries } = await store.list('spill')
      expect(entries.length).toBe(countsOf(values.ledger()).spills)
    })

    it('a value that is used while it is spilled is counted and written once', async () => {
      const written = deferred<void>()
      const put: Store['put'] = async (key, value, options) => {
        await written.promise
        return store.put(key, value, options)
      }
      const values = openValues({ packedMax: 3 * MiB, spill: { store: { ...store, put } } })
      const data = Buffer.alloc(2 * MiB, 'a')
      const spilled = await values.pack(data, 'msgpack')
      const next = values.pack(data, 'msgpack')
      await expect.poll(() => countsOf(values.ledger()).spills).toBe(1)
      await spilled.bytes()
      spilled[Symbol.dispose]()
      written.resolve()
      const { size } = await next
      await expect.poll(() => countsOf(values.ledger()).forgotten).toBe(1)
      expect(countsOf(values.ledger()).spills).toBe(1)
      expect(values.ledger().packed.used).toBe(size)
    })

    it('a value larger than all memory goes through alone, without a spill', async () => {
      const data = Buffer.alloc(3 * MiB, 'y')
      await (await openValues().pack(data, 'bytes')).store(store, 'huge')
      await storeRows('small')
      const values = openValues({ packedMax: MiB, openedMax: MiB, spill: { store } })
      const small = values.from<Row[]>(store, 'small')
      await small.use(() => {})
      const huge = values.from<Uint8Array>(store, 'huge')
      expect(await huge.use((bytes) => data.equals(bytes))).toBe(true)
      expect(await small.use((all) => all)).toEqual(rows)
      expect(countsOf(values.ledger()).spills).toBe(0)
      expect(values.ledger().opened.used).toBeLessThanOrEqual(MiB)
    })

    it('a use that waits for memory goes on when another one ends', async () => {
      await storeRows('a')
      await storeRows('b')
      const size = (await store.stat('a'))?.size ?? 0
      const values = openValues({ openedMax: 4 * size })
      const held = await values.from<Row[]>(store, 'a').open()
      const b = values.from<Row[]>(store, 'b')
      await expect(b.open({ wait: 'fail' })).rejects.toMatchObject({ code: 'EBUSY' })
      const waiting = b.use((all) => all.length)
      await expect.poll(() => values.ledger().waiting).toBe(1)
      held[Symbol.dispose]()
      held[Symbol.dispose]()
      expect(await waiting).toBe(2)
      const ending = new AbortController()
      const again = await values.from<Row[]>(store, 'a').open()
      const late = values.from<Row[]>(store, 'b').open({ signal: ending.signal })
      await expect.poll(() => values.ledger().waiting).toBe(1)
      ending.abort()
      await expect(late).rejects.toMatchObject({ code: 'ECANCELED' })
      again[Symbol.dispose]()
    })

    it('two tasks that each need both of two values never wait for each other', async () => {
      await storeRows('a')
      await storeRows('b')
      const size = (await store.stat('a'))?.size ?? 0
      for (const openedMax of [4 * size, 8 * size]) {
        const values = openValues({ openedMax })
        const [a, b] = [values.from<Row[]>(store, 'a'), values.from<Row[]>(store, 'b')]
        const both = (inputs: readonly [typeof a, typeof b]) =>
          values.useAll(inputs, async (x, y) => {
            await nextTurn()
            return x.length + y.length
          })
        const done = await Promise.all([both([a, b]), both([b, a]), both([a, a]), both([b, b])])
        expect(done).toEqual([4, 4, 4, 4])
      }
    })

    it('two tasks that share nothing never wait for each other with a value that they have', async () => {
      for (const key of ['a', 'b', 'c', 'd']) await storeRows(key)
      const size = (await store.stat('a'))?.size ?? 0
      const values = openValues({ openedMax: 2 * openedOf(size) })
      const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((key) => values.from<Row[]>(store, key))
      if (!a || !b || !c || !d) throw new Error('four values')
      const held = [await a.open(), await b.open()]
      const both = (x: typeof a, y: typeof a) =>
        values.useAll([x, y], (p, q) => p.length + q.length)
      const done = Promise.all([both(a, c), both(b, d)])
      await expect.poll(() => values.ledger().waiting).toBe(2)
      for (const each of held) each[Symbol.dispose]()
      expect(await done).toEqual([4, 4])
    })

    it('bytes() fetches once, and is remembered while there is memory', async () => {
      await storeRows()
      const values = openValues()
      const value = values.from(store, 'rows')
      const [a, b] = await Promise.all([value.bytes(), value.bytes()])
      expect(a).toBe(b)
      expect(await value.bytes()).toBe(a)
      expect(countsOf(values.ledger())).toMatchObject({ fetches: 1, opens: 0 })
      expect(values.ledger().packed.used).toBe(a.length)
      value[Symbol.dispose]()
      expect(values.ledger().packed.used).toBe(0)
      expect(Buffer.from(await value.bytes()).equals(a)).toBe(true)
    })

    it('a value that was disposed of and that no store has is gone', async () => {
      const values = openValues()
      const value = await values.pack(rows)
      value[Symbol.dispose]()
      expect(values.ledger().packed.used).toBe(0)
      await expect(value.use(() => {})).rejects.toMatchObject({ code: 'ECLOSED' })
    })

    it('a value that its codec cannot read is ECORRUPT, with its key and codec', async () => {
      await storeRows('good')
      const bytes = Buffer.from(await openValues().from(store, 'good').bytes())
      await store.put('cut', bytes.subarray(0, bytes.length - 1))
      await store.put('text', 'no packed value')
      const values = openValues()
      await expect(values.from(store, 'cut').open()).rejects.toMatchObject({
        code: 'ECORRUPT',
        message: expect.stringMatching(/the value of cut .* msgpack@1/),
      })
      await expect(values.from(store, 'text').open()).rejects.toMatchObject({
        code: 'ECORRUPT',
        message: expect.stringContaining('the value of text'),
      })
      await expect(values.from(store, 'none').open()).rejects.toMatchObject({ code: 'ENOENT' })
      // Nothing stays of it, and it may be read later.
      expect(values.ledger()).toMatchObject({ opened: { used: 0 }, packed: { used: 0 } })
    })

    it('a codec of one’s own reads its earlier versions; one that is missing or older is EINVAL', async () => {
      const codec = (version: number): Codec<number> => ({
        ...{ name: 'unit', version },
        pack: (value) => [Buffer.from(`${value}`)],
        unpack: (bytes, packedIn) => Number(Buffer.from(bytes)) * (packedIn === 1 ? 1000 : 1),
      })
      await (await openValues().pack(5, codec(1))).store(store, 'old')
      await (await openValues().pack(6, codec(2))).store(store, 'new')
      const values = openValues({ codecs: [codec(2)] })
      expect(await values.from<number>(store, 'old').use((value) => value)).toBe(5_000)
      expect(await values.from<number>(store, 'new').use((value) => value)).toBe(6)
      const older = openValues({ codecs: [codec(1)] })
      await expect(older.from(store, 'new').open()).rejects.toMatchObject({ code: 'EINVAL' })
      await expect(openValues().from(store, 'old').open()).rejects.toMatchObject({
        code: 'EINVAL',
        message: expect.stringContaining('the codec unit'),
      })
    })

    it('times are told apart, for a task and for all', async () => {
      await storeRows()
      const values = openValues()
      const timings = newTimings()
      const wait = deferred<void>()
      const running = values.from<Row[]>(store, 'rows').use(() => wait.promise, { timings })
      await expect.poll(() => countsOf(values.ledger()).opens).toBe(1)
      const start = performance.now()
      while (performance.now() - start < 5) await nextTurn()
      wait.resolve()
      await running
      await (await values.pack(rows)).store(store, 'copy')
      const { times } = timings
      expect(times.run).toBeGreaterThanOrEqual(5)
      expect(times.fetch).toBeGreaterThan(0)
      expect(times).toMatchObject({ pack: 0, store: 0 })
      const total = values.times()
      expect(total.run).toBe(times.run)
      expect(total.pack).toBeGreaterThan(0)
      expect(total.store).toBeGreaterThan(0)
    })

    it.each([
      ['an unknown option', () => openValues({ x: 1 } as never)],
      ['an unknown codec', () => openValues().pack(1, 'xml' as never)],
      [
        'an option of a use',
        () =>
          openValues()
            .from(store, 'a')
            .open({ x: 1 } as never),
      ],
      ['a name of a codec', () => openValues({ codecs: [{ name: 'A', version: 1 } as never] })],
    ])('refuses %s', async (_, call) => {
      await expect((async () => call())()).rejects.toMatchObject({ code: 'EINVAL' })
    })
  })
}

async function all(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const got: Uint8Array[] = []
  for await (const chunk of chunks) got.push(chunk)
  return got
}
