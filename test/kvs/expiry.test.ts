/** Keys that expire, on a clock that the tests move. See rfc/9. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Op } from '../../src/api/transaction.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { type EmbeddedStore, openOn } from '../../src/open.js'
import { expiredPerCommitMax, expiryTtlMax, wallLookMs } from '../../src/present/expiry.js'
import { TestClock } from '../clock.js'
import { refusal, text } from './expect.js'

/** Keeps what it has when the store is closed. */
class KeptEngine extends MemoryEngine {
  override async [Symbol.asyncDispose](): Promise<void> {}
}

let clock: TestClock
let engine: MemoryEngine
let store: EmbeddedStore
let idle: number

beforeEach(async () => {
  clock = new TestClock()
  engine = new KeptEngine(clock)
  store = await openOn(engine, { environment: clock })
  idle = clock.timers
})
afterEach(() => store[Symbol.asyncDispose]())

async function reopen(): Promise<void> {
  await store[Symbol.asyncDispose]()
  store = await openOn(engine, { environment: clock })
}

/** Resolves when what was due has gone, and the timer of the next key that expires is set, if there is one. */
async function settled(): Promise<number> {
  await store.commit({ ops: [] })
  const { seq } = await store.commit({ ops: [] })
  const expiring = await store.list('', { recursive: true })
  const stats = await Promise.all(expiring.entries.map(({ name }) => store.stat(name)))
  if (stats.some((stat) => stat?.expires !== undefined)) {
    await expect.poll(() => clock.timers, { interval: 1 }).toBeGreaterThan(idle)
  }
  return seq
}

async function keys(): Promise<string[]> {
  return (await store.list('')).entries.map(({ name }) => name)
}

describe('a put with a ttl', () => {
  it('is there to the last ms, then goes in a commit of the server, and its watchers hear it', async () => {
    await store.put('k', 'v', { ttl: 1_000 })
    await store.put('other', 'v')
    const watching = store.watch('k', { mode: 'value' })
    await watching.next()
    clock.advance(999)
    await settled()
    expect(text(await store.get('k'))).toBe('v')
    const gone = watching.next()
    const { seq } = await store.root()
    clock.advance(1)
    expect(await refusal(gone)).toMatchObject({ code: 'ENOENT' })
    expect(await store.root()).toMatchObject({ seq: seq + 1 })
    expect(await keys()).toEqual(['other'])
    expect(text(await store.get('k', { at: seq }))).toBe('v')
    expect(clock.timers).toBe(idle)
  })

  it('over one with another counts alone, whichever is longer', async () => {
    for (const [first, second] of [
      [1_000, 5_000],
      [5_000, 1_000],
    ] as const) {
      await store.put('k', 'a', { ttl: first })
      await store.put('k', 'b', { ttl: second })
      clock.advance(second - 1)
      await settled()
      expect(text(await store.get('k'))).toBe('b')
      clock.advance(1)
      await settled()
      expect(await store.get('k')).toBeUndefined()
    }
  })

  it('is ended by one without, by an unlink, and by what takes its place', async () => {
    const replace: Record<string, Op[]> = {
      put: [{ op: 'put', key: 'd/put', value: 'new' }],
      symlink: [{ op: 'symlink', key: 'd/symlink', target: 'd/put' }],
      unlink: [
        { op: 'unlink', key: 'd/unlink' },
        { op: 'append', key: 'd/unlink', value: 'new' },
      ],
      mkdir: [
        { op: 'unlink', key: 'd/mkdir' },
        { op: 'mkdir', key: 'd/mkdir/in' },
      ],
    }
    for (const [name, ops] of Object.entries(replace)) {
      await store.put(`d/${name}`, 'old', { ttl: 1_000 })
      await store.commit({ ops })
    }
    await store.put('tree/a', '', { ttl: 1_000 })
    await store.put('tree/b', '', { ttl: 1_000, sliding: true })
    await store.commit({ ops: [{ op: 'unlink', key: 'tree', recursive: true }] })
    await store.put('tree/a', 'new')
    await store.put('tree/b', 'new', { ttl: 3_000 })
    clock.advance(2_000)
    await settled()
    const { entries } = await store.list('d')
    expect(entries.map(({ name }) => name)).toEqual(['mkdir', 'put', 'symlink', 'unlink'])
    expect(text(await store.get('tree/a'))).toBe('new')
    expect(text(await store.get('tree/b'))).toBe('new')
    clock.advance(1_000)
    await settled()
    expect(await store.get('tree/b')).toBeUndefined()
    expect(clock.timers).toBe(idle)
  })

  it('from a stream, and of a value of many blobs, is the same', async () => {
    const stream = (async function* () {
      for (let at = 0; at < 30; at++) yield Buffer.alloc(100_000, at)
    })()
    await store.put('stream', stream, { ttl: 1_000 })
    clock.advance(1_000)
    await settled()
    expect(await store.get('stream')).toBeUndefined()
  })
})

describe('an append', () => {
  it('without a ttl keeps the one that is, or none', async () => {
    await store.append('log', 'a', { ttl: 1_000 })
    await store.append('plain', 'a')
    clock.advance(900)
    await store.append('log', 'b')
    clock.advance(99)
    await settled()
    expect(text(await store.get('log'))).toBe('ab')
    clock.advance(1)
    await settled()
    expect(await keys()).toEqual(['plain'])
  })

  it('to a sliding key counts anew, the seal with it too; a seal alone does not', async () => {
    await store.append('log', 'a', { ttl: 1_000, sliding: true })
    for (let round = 0; round < 5; round++) {
      clock.advance(900)
      await settled()
      await store.append('log', 'b', { seal: round === 4 })
    }
    clock.advance(500)
    await store.commit({ ops: [{ op: 'seal', key: 'log' }] })
    clock.advance(499)
    await settled()
    expect(text(await store.get('log'))).toBe('abbbbb')
    clock.advance(1)
    await settled()
    expect(await store.get('log')).toBeUndefined()
  })

  it('with a ttl sets it, shorter or longer, sliding or no more', async () => {
    await store.append('log', 'a', { ttl: 1_000, sliding: true })
    await store.append('log', 'b', { ttl: 500 })
    clock.advance(400)
    await store.append('log', 'c')
    clock.advance(99)
    await settled()
    expect(text(await store.get('log'))).toBe('abc')
    await store.append('log', 'd', { ttl: 2_000 })
    clock.advance(1_999)
    await settled()
    expect(text(await store.get('log'))).toBe('abcd')
    clock.advance(1)
    await settled()
    expect(await store.get('log')).toBeUndefined()
  })

  it('over a link is about the log behind it', async () => {
    await store.commit({ ops: [{ op: 'symlink', key: 'link', target: 'real/log' }] })
    await store.append('link', 'a', { ttl: 1_000 })
    clock.advance(1_000)
    await settled()
    expect(await store.stat('real/log')).toBeUndefined()
    expect(await store.stat('link', { nofollow: true })).toMatchObject({ type: 'symlink' })
  })

  it('in the group of the expiry is seen by its watchers first', async () => {
    await store.append('log', 'a', { ttl: 1_000 })
    const watching = store.watch('log', { mode: 'append', from: 1 })
    expect((await watching.next()).value).toMatchObject({ type: 'live' })
    const appended = store.append('log', 'b')
    clock.advance(1_000)
    await appended
    expect((await watching.next()).value).toMatchObject({ type: 'append', index: 1 })
    expect(await refusal(watching.next())).toMatchObject({ code: 'ENOENT' })
  })

  it('to a sliding key in the group of its expiry keeps it', async () => {
    await store.append('log', 'a', { ttl: 1_000, sliding: true })
    const before = clock.now()
    const appended = store.append('log', 'b')
    clock.advance(1_000)
    await appended
    await settled()
    expect(text(await store.get('log'))).toBe('ab')
    clock.advance(before + 2_000 - clock.now())
    await settled()
    expect(await store.get('log')).toBeUndefined()
  })
})

describe('what is not carried along', () => {
  it('a namespace made from the tree, or an older root, has no expiry', async () => {
    await store.put('k', 'v', { ttl: 1_000 })
    await store.namespaces.create('copy', { from: {} })
    clock.advance(10_000)
    await settled()
    expect(await store.get('k')).toBeUndefined()
    expect(text(await store.get('k', { namespace: 'copy' }))).toBe('v')
  })
})

describe('copy, fork, move and restore', () => {
  it('carry no expiry, and what they replace loses its own', async () => {
    await store.append('log', 'a', { ttl: 1_000, sliding: true })
    const { seq } = await store.root()
    await store.put('replaced', 'old', { ttl: 1_000 })
    await store.put('moved', 'v', { ttl: 1_000 })
    await store.put('tree/in', 'v', { ttl: 1_000 })
    await store.commit({
      ops: [
        { op: 'copy', from: 'log', key: 'copied' },
        { op: 'fork', from: 'log', key: 'forked', count: 1 },
        { op: 'copy', from: 'log', key: 'replaced', replace: true },
        { op: 'move', from: 'moved', key: 'there' },
        { op: 'move', from: 'tree', key: 'trees' },
        { op: 'restore', key: 'restored', at: seq },
      ],
    })
    await store.put('moved', 'new')
    clock.advance(5_000)
    await settled()
    expect(await keys()).toEqual(['copied', 'forked', 'moved', 'replaced', 'there', 'trees'])
    await store.commit({ ops: [{ op: 'restore', key: 'log', at: seq }] })
    clock.advance(5_000)
    await settled()
    expect(text(await store.get('log'))).toBe('a')
  })
})

describe('a store that was closed meanwhile', () => {
  it('counts on: what is due goes at once, the rest in its time', async () => {
    await store.put('soon', 'v', { ttl: 1_000 })
    await store.put('late', 'v', { ttl: 100_000 })
    const { seq } = await store.root()
    await store[Symbol.asyncDispose]()
    expect(clock.timers).toBe(0)
    clock.advance(50_000)
    store = await openOn(engine, { environment: clock })
    clock.advance(0)
    await store.root({ waitSeq: seq + 1 })
    expect(await keys()).toEqual(['late'])
    clock.advance(49_999)
    await settled()
    expect(await keys()).toEqual(['late'])
    clock.advance(1)
    await settled()
    expect(await keys()).toEqual([])
  })

  it('knows a sliding key that was filed earlier than it is due', async () => {
    await store.append('log', 'a', { ttl: 1_000, sliding: true })
    clock.advance(600)
    await store.append('log', 'b')
    await reopen()
    clock.advance(999)
    await settled()
    expect(text(await store.get('log'))).toBe('ab')
    clock.advance(1)
    await settled()
    expect(await store.get('log')).toBeUndefined()
  })
})

describe('many at once', () => {
  it('go in commits of a bounded size, one after the other', async () => {
    const count = 2 * expiredPerCommitMax + 100
    const ops = Array.from({ length: count }, (_, at): Op => {
      return { op: 'put', key: `many/${at}`, value: 'v', ttl: 1_000 + (at % 3) }
    })
    await store.commit({ ops })
    const { seq } = await store.root()
    clock.stall(60_000)
    for (let commits = 1; commits <= 3; commits++) {
      await expect.poll(() => store.root().then((root) => root.seq)).toBe(seq + commits)
      expect((await store.stat('many'))?.count).toBe(
        Math.max(0, count - commits * expiredPerCommitMax),
      )
      await expect.poll(() => clock.timers).toBe(idle + (commits < 3 ? 1 : 0))
      clock.advance(0)
    }
  })
})

describe('the wall clock', () => {
  it('that is set forward is noticed in a while; one that is set back waits', async () => {
    const wall = { ms: 1_700_000_000_000 }
    await store[Symbol.asyncDispose]()
    store = await openOn(engine, { environment: { ...clock, now: () => wall.ms } })
    await store.put('k', 'v', { ttl: 24 * 3_600_000 })
    wall.ms -= 3_600_000
    clock.advance(24 * 3_600_000)
    await settled()
    expect(text(await store.get('k'))).toBe('v')
    wall.ms += 25 * 3_600_000
    clock.advance(wallLookMs)
    await settled()
    expect(await store.get('k')).toBeUndefined()
  })
})

describe('bounds', () => {
  it.each([0, -1, 0.5, expiryTtlMax + 1, Number.NaN])('a ttl of %d is EINVAL', async (ttl) => {
    expect(await refusal(store.put('k', 'v', { ttl }))).toMatchObject({ code: 'EINVAL' })
    expect(await refusal(store.append('k', 'v', { ttl }))).toMatchObject({ code: 'EINVAL' })
  })

  it('sliding without a ttl is EINVAL; the longest ttl is taken', async () => {
    const sliding = store.put('k', 'v', { sliding: true })
    expect(await refusal(sliding)).toMatchObject({ code: 'EINVAL' })
    await store.put('k', 'v', { ttl: expiryTtlMax, sliding: false })
    clock.advance(expiryTtlMax - 1)
    await settled()
    expect(text(await store.get('k'))).toBe('v')
  })
})
