/** Trims by age: what marks say, when they are written, and what they cost (rfc/19). */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { encode } from '../../src/blob/codec.js'
import { Content } from '../../src/content/content.js'
import { lifePath, type MetaRecord, readRecord } from '../../src/draft/meta.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { type EmbeddedStore, openOn } from '../../src/open.js'
import {
  encodeMarks,
  TimesKnown,
  timeMarkMs,
  timeMarksMax,
  timesKnownMax,
} from '../../src/present/times.js'
import { Nodes } from '../../src/tree/nodes.js'
import { readRoot } from '../../src/tree/root.js'
import type { Key } from '../../src/treeobj/key.js'
import { TestClock } from '../clock.js'

/** One that a store may be opened on again. */
class KeptEngine extends MemoryEngine {
  override async [Symbol.asyncDispose](): Promise<void> {}
}

let clock: TestClock
let engine: KeptEngine
let store: EmbeddedStore

beforeEach(async () => {
  clock = new TestClock()
  engine = new KeptEngine(clock)
  store = await openOn(engine, { environment: clock })
})
afterEach(() => store[Symbol.asyncDispose]())

describe('a trim by age', () => {
  it('drops what a mark proves to be that old, and nothing younger', async () => {
    const begin = clock.now()
    for (let n = 0; n < 10; n++) {
      await store.append('log', `${n}`)
      clock.advance(timeMarkMs)
    }
    // Append n was made n minutes after the first, which was ten minutes ago.
    expect(await baseAfter('log', 11 * timeMarkMs)).toBe(0)
    expect(await baseAfter('log', 10 * timeMarkMs)).toBe(0)
    // Nine minutes ago the log had its first append; the second was made just then.
    expect(await baseAfter('log', 9 * timeMarkMs)).toBe(1)
    expect(await baseAfter('log', 9 * timeMarkMs - 1)).toBe(1)
    expect(await baseAfter('log', 8 * timeMarkMs)).toBe(2)
    expect(await baseAfter('log', 3 * timeMarkMs + 5)).toBe(6)
    expect(clock.now() - begin).toBe(10 * timeMarkMs)
    expect(await baseAfter('log', 0)).toBe(10)
  })

  it('of a cap comes with each append', async () => {
    const keepAge = 3 * timeMarkMs
    const bases: number[] = []
    for (let n = 0; n < 8; n++) {
      await store.append('log', `${n}`, n === 0 ? { cap: { keepAge } } : {})
      bases.push((await store.stat('log'))?.base?.count ?? 0)
      clock.advance(timeMarkMs)
    }
    // Append n is three minutes old when append n + 3 is made.
    expect(bases).toEqual([0, 0, 0, 1, 2, 3, 4, 5])
    clock.advance(86_400_000)
    await store.append('log', '8')
    expect(await store.stat('log')).toMatchObject({
      count: 9,
      base: { count: 8 },
      cap: { keepAge },
    })
  })

  it('of a log that began less than a minute ago finds no mark, and drops nothing', async () => {
    for (let n = 0; n < 5; n++) {
      await store.append('log', `${n}`)
      clock.advance(timeMarkMs / 5 - 1)
    }
    expect(await marks('log')).toBeUndefined()
    expect(await baseAfter('log', 1)).toBe(0)
    expect(await baseAfter('log', 0)).toBe(5)
  })

  it('leaves a mark: a log that is not appended to any more is old in the end', async () => {
    await store.append('log', 'a')
    await store.append('log', 'b')
    clock.advance(7 * 86_400_000)
    expect(await baseAfter('log', 86_400_000)).toBe(0)
    expect(await marks('log')).toEqual([clock.now(), 2])
    const { seq, ref } = await store.root()
    expect(await baseAfter('log', 86_400_000)).toBe(0)
    expect(await store.root()).toMatchObject({ seq: seq + 1, ref })
    clock.advance(86_400_000)
    await store.append('log', 'c')
    expect(await baseAfter('log', 86_400_000)).toBe(2)
    expect(await store.stat('log')).toMatchObject({ count: 3, base: { count: 2 } })
    expect(await marks('log')).toEqual([clock.now(), 3])
  })

  it('of a value that became a log counts from there', async () => {
    await store.put('v', 'value')
    clock.advance(10 * timeMarkMs)
    await store.append('v', 'x')
    expect(await marks('v')).toBeUndefined()
    clock.advance(timeMarkMs)
    await store.append('v', 'y')
    expect((await pairs('v')).map(([, count]) => count)).toEqual([2])
  })

  it('of a value that is there for long enough', async () => {
    await store.put('v', 'value')
    expect(await baseAfter('v', 1_000)).toBe(0)
    clock.advance(1_000)
    expect(await baseAfter('v', 1_000)).toBe(1)
  })
})

describe('marks', () => {
  it('are golden', () => {
    const record = encodeMarks([
      { time: 1_700_000_000_000, count: 3 },
      { time: 1_700_000_060_000, count: 300 },
    ])
    const bytes = Buffer.from(encode(record)).toString('hex')
    expect(bytes).toBe('94cb4278bcfe5680000003cb4278bcfe65260000cd012c')
  })

  it('are at most one a minute, whatever is appended', async () => {
    for (let n = 0; n < 60; n++) {
      await store.append('log', `${n}`)
      clock.advance(timeMarkMs / 10)
    }
    const at = await pairs('log')
    expect(at.map(([, count]) => count)).toEqual([10, 20, 30, 40, 50])
  })

  it('are thinned from the oldest on, and never say what was not so', async () => {
    const written = new Map<number, number>()
    for (let n = 0; n < 5 * timeMarksMax; n++) {
      written.set(clock.now(), n)
      await store.append('log', `${n}`)
      clock.advance(timeMarkMs)
    }
    const at = await pairs('log')
    expect(at.length).toBeLessThanOrEqual(timeMarksMax)
    expect(at.length).toBeGreaterThan(timeMarksMax / 2)
    for (const [time, count] of at) expect(written.get(time)).toBe(count)
    expect(at.map(([time]) => time)).toEqual([...at.map(([time]) => time)].sort((a, b) => a - b))
    // The newest are a minute apart; of the first hour some are left.
    expect(at.at(-1)?.[1]).toBe(5 * timeMarksMax - 1)
    expect(at.at(-2)?.[1]).toBe(5 * timeMarksMax - 2)
    expect(at[0]?.[1]).toBeLessThan(60)
  })

  it('go with what is trimmed, and with the value', async () => {
    for (let n = 0; n < 6; n++) {
      await store.append('log', `${n}`)
      clock.advance(timeMarkMs)
    }
    await trim({ before: 3 })
    expect((await pairs('log')).map(([, count]) => count)).toEqual([4, 5])
    await store.put('log', 'anew')
    expect(await marks('log')).toBeUndefined()
    await store.append('log', 'x')
    expect(await baseAfter('log', timeMarkMs)).toBe(0)
  })

  it('of a transaction that fails are not there', async () => {
    await store.append('log', 'a')
    clock.advance(timeMarkMs)
    const failed = store.commit({
      ops: [
        { op: 'append', key: 'log', value: 'b' },
        { op: 'trim', key: 'log', before: 9 },
      ],
    })
    await expect(failed).rejects.toMatchObject({ code: 'EINVAL', failed: { op: 1 } })
    expect(await marks('log')).toBeUndefined()
    expect(await store.stat('log')).toMatchObject({ count: 1 })
  })

  it('go on in a store that was opened again: what is not known is looked up', async () => {
    await store.append('log', 'a')
    clock.advance(timeMarkMs)
    await store.append('log', 'b')
    const before = await marks('log')
    expect(before).toHaveLength(2)
    await store[Symbol.asyncDispose]()
    store = await openOn(engine, { environment: clock })
    await store.append('log', 'c')
    expect(await marks('log')).toEqual(before)
    clock.advance(timeMarkMs)
    await store.append('log', 'd')
    expect(await marks('log')).toEqual([...(before ?? []), clock.now(), 3])
  })

  it('wait for a clock that was set back, and drop nothing meanwhile', async () => {
    await store.append('log', 'a')
    clock.advance(timeMarkMs)
    await store.append('log', 'b')
    clock.stall(-3_600_000)
    await store.append('log', 'c')
    clock.advance(timeMarkMs)
    await store.append('log', 'd')
    expect(await pairs('log')).toHaveLength(1)
    expect(await baseAfter('log', 1)).toBe(0)
  })
})

describe('TimesKnown', () => {
  it('forgets what was set longest ago', () => {
    const known = new TimesKnown()
    for (let n = 0; n < timesKnownMax; n++) known.set(`${n}` as Key, n)
    known.set('0' as Key, 7)
    known.set('new' as Key, 8)
    expect(known.get('0' as Key)).toBe(7)
    expect(known.get('1' as Key)).toBeUndefined()
    expect(known.get('2' as Key)).toBe(2)
    expect(known.get('new' as Key)).toBe(8)
  })
})

async function trim(to: { before: number } | { olderThan: number }, key = 'log') {
  return (await store.commit({ ops: [{ op: 'trim', key, ...to }] })).results[0]
}

async function baseAfter(key: string, olderThan: number): Promise<number | undefined> {
  return (await trim({ olderThan }, key))?.base?.count
}

async function marks(key: string): Promise<MetaRecord | undefined> {
  const nodes = new Nodes(new Content(engine))
  const { meta } = await readRoot(nodes, (await store.root()).ref)
  return readRecord(nodes, meta, lifePath('times', key as Key))
}

async function pairs(key: string): Promise<[number, number][]> {
  const record = (await marks(key)) ?? []
  return Array.from({ length: record.length / 2 }, (_, at) => [
    Number(record[2 * at]),
    Number(record[2 * at + 1]),
  ])
}
