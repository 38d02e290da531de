/** The floor under the history, by the clock and by the bytes, over restarts; and what readers hold above
 *  and below it. See rfc/10. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Settings } from '../../src/api/namespace.js'
import { blobSizeMax } from '../../src/blob/blob.js'
import { Content } from '../../src/content/content.js'
import type { Root } from '../../src/engine/engine.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { configure, settle } from '../../src/kvs/configure.js'
import { KeyStore } from '../../src/kvs/store.js'
import { open } from '../../src/open.js'
import { readerHoldMs } from '../../src/past/holds.js'
import { floorPageSize } from '../../src/past/retention.js'
import { settingsDefault } from '../../src/present/settings.js'
import { historyKeptMs } from '../../src/watch/history.js'
import { WatchService } from '../../src/watch/watch.js'
import { TestClock } from '../clock.js'
import { refusal, text } from './expect.js'

let clock: TestClock
let engine: MemoryEngine
let content: Content
let store: KeyStore

async function reopened(): Promise<KeyStore> {
  content = new Content(engine, {})
  return KeyStore.open(engine, content, clock)
}

beforeEach(async () => {
  clock = new TestClock()
  engine = new MemoryEngine(clock)
  store = await reopened()
})
afterEach(async () => {
  await store[Symbol.asyncDispose]()
  await engine[Symbol.asyncDispose]()
})

function change(settings: Partial<Settings>) {
  return configure(store.spaces.find('primary'), settings)
}

function floor(): Promise<number> {
  return store.namespace().retention.floor()
}

async function puts(count: number): Promise<number> {
  let seq = 0
  for (let at = 0; at < count; at++) seq = (await store.put('k', `${at}`)).seq
  return seq
}

describe('retention by age', () => {
  it('keeps a root until it is just as old as the bound', async () => {
    await change({ historyCount: 1, historyAgeMs: 1_000 })
    const { seq } = await store.put('k', 'old')
    clock.advance(400)
    await store.put('k', 'new')
    clock.advance(599)
    expect(text(await store.get('k', { at: seq }))).toBe('old')
    clock.advance(1)
    expect((await refusal(store.get('k', { at: seq }))).code).toBe('ECOMPACTED')
    expect(await floor()).toBe(seq + 1)
  })

  it('keeps the newest root, however old, and the last ones by count', async () => {
    await change({ historyCount: 2, historyAgeMs: 1_000 })
    const seq = await puts(4)
    clock.advance(86_400_000)
    expect(await floor()).toBe(seq - 1)
    await change({ historyCount: 1 })
    expect(await floor()).toBe(seq + 1)
  })

  it('what went stays gone: for wider settings, and for a clock that goes back', async () => {
    await change({ historyCount: 1, historyAgeMs: 1_000 })
    const seq = await puts(3)
    clock.advance(2_000)
    expect(await floor()).toBe(seq)
    clock.advance(-2_000)
    expect(await floor()).toBe(seq)
    await change({ historyAgeMs: 100_000 })
    expect(await floor()).toBe(seq)
    expect((await refusal(store.get('k', { at: seq - 1 }))).code).toBe('ECOMPACTED')
  })

  it('a floor that was settled outlives a restart, whatever the clock says then', async () => {
    await change({ historyCount: 1, historyAgeMs: 1_000 })
    const seq = await puts(3)
    clock.advance(2_000)
    const before = store.namespace().root.seq
    expect(await settle(store.spaces.find('primary'))).toBe(seq)
    expect(store.namespace().root.seq).toBe(before + 1)
    // A second one has nothing to say.
    await settle(store.spaces.find('jobs'))
    await store[Symbol.asyncDispose]()
    clock.advance(-2_000)
    store = await reopened()
    expect(await floor()).toBe(seq)
    expect((await refusal(store.get('k', { at: seq - 1 }))).code).toBe('ECOMPACTED')
    expect(text(await store.get('k', { at: seq }))).toBe('2')
  })

  it('finds the floor of a long history after a restart, page by page', async () => {
    const count = 2 * floorPageSize + 10
    const seq = await puts(count)
    await change({ historyCount: 5, historyAgeMs: 1_000 })
    await store[Symbol.asyncDispose]()
    clock.advance(5_000)
    store = await reopened()
    expect(await floor()).toBe(seq + 1 - 4)
    for (let at = 0; at < 3; at++) await store.put('k', 'x')
    expect(await floor()).toBe(seq + 1 - 1)
  })
})

describe('the rule', () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ key: fc.nat(3), size: fc.nat(2_000) }) },
    { weight: 2, arbitrary: fc.record({ append: fc.integer({ min: 1, max: 900 }) }) },
    { weight: 2, arbitrary: fc.record({ group: fc.integer({ min: 2, max: 5 }) }) },
    { weight: 2, arbitrary: fc.record({ advance: fc.nat(900) }) },
    {
      weight: 2,
      arbitrary: fc.record(
        {
          historyCount: fc.integer({ min: 1, max: 8 }),
          historyAgeMs: fc.nat(1_500),
          historySize: fc.nat(12_000),
        },
        { requiredKeys: [] },
      ),
    },
    { weight: 1, arbitrary: fc.constant('restart' as const) },
  )

  it('says exactly which roots can be read, by seq and by ref, whatever happens', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        clock = new TestClock()
        engine = new MemoryEngine(clock)
        store = await reopened()
        let settings: Settings = settingsDefault
        let low = 0
        for (const each of steps) {
          low = await oldest(settings, low)
          if (each === 'restart') {
            await store[Symbol.asyncDispose]()
            // As a collection does before: what only a clock has let go is let go for good.
            store = await reopened()
          } else if ('advance' in each) clock.advance(each.advance)
          else if ('append' in each) await store.append('log', Buffer.alloc(each.append))
          else if ('group' in each) {
            const all = Array.from({ length: each.group }, (_, at) => store.put(`g${at}`, 'v'))
            await Promise.all(all)
          } else if ('key' in each) {
            await store.put(`k${each.key}`, Buffer.alloc(each.size, each.key))
          } else {
            await change(each)
            settings = { ...settings, ...each }
          }
          low = await oldest(settings, low)
          await checkReadable(low)
        }
        await store[Symbol.asyncDispose]()
      }),
      { numRuns: 60 },
    )
  })

  /** The rule as it stands in rfc/10, over all that the engine has. */
  async function oldest(settings: Settings, low: number): Promise<number> {
    const roots = await all()
    const head = roots.at(-1)
    if (!head) throw new Error('there is a root')
    const index = roots.findIndex((root, at) => {
      if (root.seq < low) return false
      if (root === head) return true
      const last = at >= roots.length - settings.historyCount
      const young = clock.now() - root.time < settings.historyAgeMs
      const written = (head.written ?? 0) - (root.written ?? 0)
      const grown = (head.size ?? 0) - (root.size ?? 0)
      return (last || young) && written - grown <= settings.historySize
    })
    return roots[index]?.seq ?? head.seq
  }

  async function checkReadable(low: number): Promise<void> {
    const roots = await all()
    for (const { seq, ref } of roots) {
      const newer = roots.some((root) => root.ref === ref && root.seq >= low)
      if (newer) expect((await store.stat('/', { at: ref }))?.seq).toBeGreaterThanOrEqual(low)
      else expect((await refusal(store.stat('/', { at: ref }))).code).toBe('ECOMPACTED')
      if (seq >= low) expect((await store.stat('/', { at: seq }))?.seq).toBe(seq)
      else expect((await refusal(store.stat('/', { at: seq }))).code).toBe('ECOMPACTED')
    }
  }

  async function all(): Promise<Root[]> {
    const roots: Root[] = []
    for await (const root of engine.history('primary', -1)) roots.push(root)
    return roots
  }
})

describe('holds', () => {
  const held = () => store.spaces.past.holds.held().length

  it('a stream holds its root until it ends, is left, or fails', async () => {
    await store.put('big', Buffer.alloc(3 * blobSizeMax, 1))
    for (const taken of [1, 2, 99]) {
      const reading = await store.read('big')
      expect(held()).toBe(1)
      let count = 0
      for await (const _ of reading?.chunks ?? []) {
        expect(held()).toBe(1)
        if (++count === taken) break
      }
      expect(held()).toBe(0)
    }
    const { ref } = store.namespace().root
    await store.put('big', 'small')
    const reading = await store.read('big', { at: ref })
    await engine[Symbol.asyncDispose]()
    content = new Content(engine, {})
    const end = (async () => {
      for await (const _ of reading?.chunks ?? []) expect(held()).toBe(1)
    })()
    await end.catch(() => {})
    expect(held()).toBe(0)
  })

  it('a stream that nobody asks for holds its root for a named time', async () => {
    await store.put('big', Buffer.alloc(2 * blobSizeMax, 1))
    await store.read('big')
    clock.advance(readerHoldMs - 1)
    expect(held()).toBe(1)
    clock.advance(1)
    expect(held()).toBe(0)
    const reading = await store.read('big')
    const chunks = reading?.chunks[Symbol.asyncIterator]()
    await chunks?.next()
    clock.advance(2 * readerHoldMs)
    expect(held()).toBe(1)
    await chunks?.return?.()
    expect(held()).toBe(0)
  })

  it('short reads, refused ones and inline values leave nothing behind', async () => {
    await store.put('inline', 'v')
    await store.put('d/big', Buffer.alloc(blobSizeMax + 1))
    await store.read('inline')
    await store.get('d/big')
    await store.stat('d/big')
    await store.list('d')
    await store.readMany(['inline', 'none'])
    await store.treeobj('d/big')
    expect(await store.read('none')).toBeUndefined()
    await refusal(store.read('d'))
    await refusal(store.read('d/big', { index: 9 }))
    await refusal(store.get('inline', { at: 99 }))
    expect(held()).toBe(0)
  })

  it('a link into another namespace holds what it leads to', async () => {
    await store.createNamespace('other')
    const big = Buffer.alloc(2 * blobSizeMax, 7)
    await store.put('big', big, { namespace: 'other' })
    const op = { op: 'symlink', key: 'link', target: 'big', namespace: 'other' } as const
    await store.commit({ ops: [op] })
    const { ref } = store.namespace('other').root
    const reading = await store.read('link')
    expect(store.spaces.past.holds.held()).toContainEqual({ root: ref })
    for await (const _ of reading?.chunks ?? []) break
    expect(held()).toBe(0)
  })

  it('a log that was replaced is held for who still reads it, at most a named time', async () => {
    const watches = new WatchService(store, content, clock)
    const follow = async () => {
      for (let at = 0; at < 3; at++) await store.append('log', Buffer.alloc(1_000, at))
      const watching = watches.watch('log', { mode: 'append' })
      await watching.next()
      // Its own log is held, too, as soon as it was seen.
      await store.put('log', Buffer.alloc(1_000, 9))
      await expect.poll(() => treeobjs()).toBe(2)
      return watching
    }
    const treeobjs = () => store.spaces.past.holds.held().filter((each) => 'treeobj' in each).length
    const left = await follow()
    await left.return?.()
    await expect.poll(held).toBe(0)
    await store.commit({ ops: [{ op: 'unlink', key: 'log' }] })
    const slow = await follow()
    clock.advance(historyKeptMs - 1)
    expect(treeobjs()).toBe(2)
    clock.advance(1)
    expect(treeobjs()).toBe(1)
    await slow.return?.()
    watches.close()
    await expect.poll(held).toBe(0)
  })

  it('a watcher that waits for its consumer holds no root', async () => {
    const watches = new WatchService(store, content, clock)
    await store.put('k', Buffer.alloc(2_000, 1))
    const watching = watches.watch('k', { mode: 'value' })
    await watching.next()
    expect(held()).toBe(0)
    await watching.return?.()
    watches.close()
  })
})

describe('a store that is opened again', () => {
  let directory: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tailrace-retention-'))
  })
  afterEach(() => rm(directory, { recursive: true }))

  it('has its settings, its floor and its pins', async () => {
    const before = await (async () => {
      await using kvs = await open({ directory })
      const { ref } = await kvs.put('k', 'pinned')
      const pin = await kvs.history.pin('p')
      await kvs.namespaces.configure('primary', { historyCount: 2, historyAgeMs: 0 })
      for (const value of ['1', '2', '3']) await kvs.put('k', value)
      const { roots } = await kvs.history.roots()
      await kvs.namespaces.configure('primary', { historyCount: 100 })
      return { ref, pin, oldest: roots[0]?.seq }
    })()
    await using kvs = await open({ directory })
    const [primary] = (await kvs.namespaces.list()).filter(({ name }) => name === 'primary')
    expect(primary?.settings).toMatchObject({ historyCount: 100, historyAgeMs: 0 })
    expect((await kvs.history.roots()).roots[0]?.seq).toBe(before.oldest)
    const gone = (before.oldest ?? 0) - 1
    expect((await refusal(kvs.get('k', { at: gone }))).code).toBe('ECOMPACTED')
    expect(await kvs.history.pins()).toEqual([before.pin])
    expect(text(await kvs.get('k', { at: before.ref }))).toBe('pinned')
    expect((await kvs.history.log('k')).oldest).toBe(before.oldest)
  })
})
