/** How long, and how many, roots stay readable that answers named: rfc/10, rule 20. */

import { afterEach, beforeEach, expect, it } from 'vitest'
import { MemoryEngine } from '../../src/engine/memory.js'
import { type EmbeddedStore, openOn } from '../../src/open.js'
import { keptRootMs, keptRootsMax } from '../../src/past/kept-roots.js'
import { TestClock } from '../clock.js'
import { refusal } from './expect.js'

let clock: TestClock
let store: EmbeddedStore
beforeEach(async () => {
  clock = new TestClock()
  store = await openOn(new MemoryEngine(clock), { environment: clock })
  await store.namespaces.configure('primary', { historyCount: 1, historyAgeMs: 0 })
})
afterEach(() => store[Symbol.asyncDispose]())

/** The first page of two, and a root that follows. */
async function first(): Promise<number> {
  await store.commit({ ops: ['a', 'b'].map((key) => ({ op: 'put', key, value: 'v' })) })
  const { seq, more } = await store.list('', { limit: 1 })
  expect(more).toBe(true)
  await store.put('c', `${seq}`)
  return seq
}

const isThere = (at: number | string) =>
  store.list('', { at, limit: 1 }).then(
    () => true,
    () => false,
  )

it('a root is kept for its time since it was read last, by its seq and by its ref', async () => {
  const { ref } = await store.put('a', 'v')
  const seq = await first()
  for (let times = 0; times < 3; times++) {
    clock.advance(keptRootMs - 1)
    expect(await isThere(seq)).toBe(true)
  }
  expect(await isThere(ref)).toBe(false)
  const page = await store.list('', { limit: 1 })
  const now = await store.root()
  expect(page.seq).toBe(now.seq)
  await store.put('d', 'v')
  expect(await isThere(now.ref)).toBe(true)
  clock.advance(keptRootMs)
  expect(await isThere(seq)).toBe(false)
  expect(await isThere(now.ref)).toBe(false)
})

it('a collection takes what its time is over for', async () => {
  await store.put('junk', Buffer.alloc(1_000_000, 1))
  await first()
  await store.commit({ ops: [{ op: 'unlink', key: 'junk' }] })
  expect((await store.upkeep.collect()).freed.size).toBeLessThan(400_000)
  clock.advance(keptRootMs)
  expect((await store.upkeep.collect()).freed.size).toBeGreaterThan(400_000)
})

it('of too many the one that was used longest ago goes', async () => {
  const [oldest, second] = [await first(), await first()]
  for (let at = 2; at < keptRootsMax; at++) await first()
  expect(await isThere(oldest)).toBe(true)
  await first()
  expect(await isThere(oldest)).toBe(true)
  expect(await isThere(second)).toBe(false)
})

it('what is forgotten is in no kept root', async () => {
  const seq = await first()
  await store.upkeep.forget('a')
  expect(await refusal(store.list('', { at: seq }))).toMatchObject({ code: 'ECOMPACTED' })
})

it('a namespace that is made anew has none of those of before', async () => {
  await store.namespaces.create('n')
  const here = { namespace: 'n' }
  await store.namespaces.configure('n', { historyCount: 1, historyAgeMs: 0 })
  await store.commit({ ops: ['a', 'b'].map((key) => ({ op: 'put', key, value: 'v' })) }, here)
  const { seq } = await store.list('', { ...here, limit: 1 })
  await store.put('c', 'v', here)
  expect((await store.list('', { ...here, at: seq })).entries).toHaveLength(2)
  await store.namespaces.remove('n')
  await store.namespaces.create('n')
  await store.namespaces.configure('n', { historyCount: 1, historyAgeMs: 0 })
  for (let at = 0; at < 5; at++) await store.put('c', `${at}`, here)
  expect(await refusal(store.list('', { ...here, at: seq }))).toMatchObject({ code: 'ECOMPACTED' })
})
