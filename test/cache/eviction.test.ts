/** Eviction on a clock that the test moves: by age, count and size, the least recently used first. See rfc/22, rules 18
 *  to 20. */

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Cache } from '../../src/api/cache.js'
import type { Store } from '../../src/api/store.js'
import { openCache } from '../../src/cache/cache.js'
import { evict } from '../../src/cache/eviction.js'
import { pack, unpack } from '../../src/cache/packing.js'
import { UsageNotes } from '../../src/cache/usage.js'
import { open } from '../../src/open.js'
import { refusal } from '../kvs/expect.js'

const hour = 3_600_000
const start = Date.UTC(2026, 0, 1)
const layer = 'bounded'
const namespace = 'cache-bounded'

let store: Store
let cache: Cache
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['Date'], now: start })
  store = await open()
  await openCache(store).layers.create(layer)
  cache = openCache(store, { layer })
  await cache.load('anything') // opens it without bounds: only the tests evict
})
afterEach(async () => {
  await store.close()
  vi.useRealTimers()
})

const later = (hours: number) => vi.setSystemTime(Date.now() + hours * hour)
const publish = (what: unknown, size = 10) => cache.cached(what, () => 'x'.repeat(size))
const run = () => evict(store, store.leases, layer)
/** Which of these have results. */
const kept = async (...actions: readonly unknown[]) => {
  const found = await Promise.all(actions.map((each) => cache.load(each)))
  return actions.filter((_, at) => found[at])
}
const idOf = async (what: unknown) => (await cache.load(what))?.result.id ?? ''
const use = async (what: unknown) => {
  const notes = new UsageNotes(store, layer)
  notes.note(await idOf(what))
  await notes.flush()
}
const indexed = async () =>
  (await store.list('uses', { namespace, recursive: true })).entries
    .filter(({ type }) => type === 'val')
    .map(({ name }) => name)

describe('eviction', () => {
  it('does nothing without bounds, and within them', async () => {
    await publish('a')
    later(10_000)
    expect(await run()).toBe(0)
    await cache.layers.configure(layer, { keepResults: 1, keepSize: 1_000_000 })
    expect(await run()).toBe(0)
    expect(await kept('a')).toEqual(['a'])
  })

  it('by count: the results that were not used for the longest time go', async () => {
    for (const action of ['a', 'b', 'c', 'd']) {
      await publish(action)
      later(1)
    }
    await use('a')
    await cache.layers.configure(layer, { keepResults: 2 })
    expect(await run()).toBe(2)
    expect(await kept('a', 'b', 'c', 'd')).toEqual(['a', 'd'])
    expect(await cache.layers.show(layer)).toMatchObject({ results: 2, bounds: { keepResults: 2 } })
    expect((await indexed()).length).toBe(2)
  })

  it('by age: a result goes when it was not used for that time', async () => {
    await publish('a')
    await publish('b')
    later(5)
    await use('b')
    await cache.layers.configure(layer, { keepAgeMs: 10 * hour })
    later(5)
    expect(await run()).toBe(0)
    later(1)
    expect(await run()).toBe(1)
    expect(await kept('a', 'b')).toEqual(['b'])
    later(5)
    expect(await run()).toBe(1)
    expect(await indexed()).toEqual([])
  })

  it('by size: as many go as bring it below the bound', async () => {
    for (const action of ['a', 'b', 'c']) {
      await publish(action, 100_000)
      later(1)
    }
    await cache.layers.configure(layer, { keepSize: 250_000 })
    expect(await run()).toBe(1)
    expect(await kept('a', 'b', 'c')).toEqual(['b', 'c'])
    for (const action of ['d', 'e', 'f', 'g']) await publish(action, 100_000)
    expect(await run()).toBe(4)
    expect((await kept('d', 'e', 'f', 'g')).length).toBe(2)
    await cache.layers.configure(layer, { keepSize: 0 })
    expect(await run()).toBe(2)
    expect((await cache.layers.show(layer)).size).toBe(0)
  })

  it('of many results takes several steps', { timeout: 120_000 }, async () => {
    const actions = Array.from({ length: 600 }, (_, at) => at)
    await Promise.all(actions.map((each) => publish(each)))
    await cache.layers.configure(layer, { keepResults: 5 })
    expect(await run()).toBe(595)
    expect((await cache.results.list()).results.length).toBe(5)
  })

  it('follows an entry of the index that tells of many results, some of which go first', async () => {
    const actions = Array.from({ length: 5 }, (_, at) => `action ${at}`)
    for (const action of actions) await publish(action)
    later(1)
    const notes = new UsageNotes(store, layer)
    for (const action of actions) notes.note(await idOf(action))
    await notes.flush()
    const entries = await indexed()
    await cache.layers.configure(layer, { keepResults: 3 })
    expect(await run()).toBe(2)
    // The entries of the first hour mean nothing any more, that of the second does.
    expect(entries.length).toBe(actions.length + 1)
    expect((await indexed()).length).toBe(1)
    later(1)
    const [left] = await kept(...actions)
    await use(left)
    await cache.layers.configure(layer, { keepResults: 1 })
    expect(await run()).toBe(2)
    expect(await kept(...actions)).toEqual([left])
    await cache.layers.configure(layer, { keepResults: 0 })
    expect(await run()).toBe(1)
    expect(await indexed()).toEqual([])
  })

  it('takes a record that cannot be read with the others of its hour', async () => {
    for (const action of ['a', 'b']) await publish(action)
    const key = `results/${await idOf('a')}`
    await store.put(key, 'no record', { namespace })
    later(1)
    await publish('c')
    await cache.layers.configure(layer, { keepAgeMs: hour / 2 })
    later(0.5)
    expect(await run()).toBe(2)
    expect(await store.stat(key, { namespace })).toBeUndefined()
    expect((await cache.layers.show(layer)).results).toBe(1)
  })

  it('leaves who reads undisturbed', async () => {
    await publish('a', 1_000_000)
    const hit = await cache.load('a')
    const stream = hit?.stream()
    const { value } = (await stream?.next()) ?? {}
    await cache.layers.configure(layer, { keepResults: 0 })
    expect(await run()).toBe(1)
    await store.upkeep.collect()
    let size = value?.length ?? 0
    for await (const chunk of stream ?? []) size += chunk.length
    expect(size).toBe(hit?.result.outputs['value']?.size)
    expect(await cache.load('a')).toBeUndefined()
  })

  it('is done by one at a time', async () => {
    await publish('a')
    await cache.layers.configure(layer, { keepResults: 0 })
    await using _lease = await store.leases.take('uses', { namespace })
    expect(await run()).toBe(0)
  })

  it('passes over what the index has of results that went or were used later', async () => {
    const used = Array.from({ length: 8 }, (_, at) => `used ${at}`)
    for (const action of ['gone', ...used, 'unused']) await publish(action)
    later(1)
    await cache.remove('gone')
    for (const action of used) await (await cache.rerun(action)).publish('new')
    await cache.layers.configure(layer, { keepResults: used.length })
    expect(await run()).toBe(1)
    expect(await kept('gone', ...used, 'unused')).toEqual(used)
    expect((await indexed()).length).toBe(used.length)
  })

  it.each(['published again', 'used', 'removed'])(
    'leaves a result that is %s between the judgement and its removal',
    async (how) => {
      for (const action of ['a', 'b', 'c']) await publish(action)
      const ids = new Map<string, string>()
      for (const action of ['a', 'b', 'c']) ids.set(await idOf(action), action)
      // Entries of one hour go in the order of their ids.
      const [first = ''] = [...ids.keys()].sort()
      const raced = ids.get(first)
      let removals = 0
      const kvs: Store = {
        ...store,
        commit: async (transaction, options) => {
          const removes = transaction.ops.some(({ op }) => op === 'unlink')
          if (removes && removals++ === 0) {
            later(1)
            if (how === 'published again') await (await cache.rerun(raced)).publish('new')
            if (how === 'used') await use(raced)
            if (how === 'removed') await cache.remove(raced)
          }
          return store.commit(transaction, options)
        },
      }
      await cache.layers.configure(layer, { keepResults: 1 })
      expect(await evict(kvs, store.leases, layer)).toBe(how === 'removed' ? 1 : 2)
      const left = await kept('a', 'b', 'c')
      expect(left.length).toBe(1)
      if (how !== 'removed') expect(left).toEqual([raced])
      // What the index has of a removed result is dropped when it is met.
      expect((await indexed()).length).toBe(how === 'removed' ? 2 : 1)
      // The first transaction was refused, and sent again without it.
      expect(removals).toBeGreaterThan(1)
    },
  )

  it('meets no note of a use of a result that was removed meanwhile', async () => {
    await publish('a')
    const id = await idOf('a')
    later(1)
    const kvs: Store = {
      ...store,
      commit: async (transaction, options) => {
        await cache.remove('a')
        return store.commit(transaction, options)
      },
    }
    const notes = new UsageNotes(kvs, layer)
    notes.note(id)
    await notes.flush()
    expect(await store.stat(`results/${id}`, { namespace })).toBeUndefined()
  })

  it('gives up where all that it would remove changes each time', async () => {
    for (let at = 0; at < 30; at++) await publish(at)
    let refused = 0
    const kvs: Store = {
      ...store,
      commit: async (transaction, options) => {
        const removed = transaction.ops.find(({ op }) => op === 'unlink')
        const key = removed && 'key' in removed ? removed.key : ''
        const record = key.startsWith('results/') && (await store.get(key, { namespace }))
        if (record) {
          refused++
          const tookMs = refused
          const changed = { ...(unpack(record, 'a record') as object), tookMs }
          await store.put(key, pack(changed, 'a record'), { namespace })
        }
        return store.commit(transaction, options)
      },
    }
    await cache.layers.configure(layer, { keepResults: 0 })
    expect(await evict(kvs, store.leases, layer)).toBe(0)
    expect(refused).toBeLessThan(30)
    expect((await cache.layers.show(layer)).results).toBe(30)
    expect(await run()).toBe(30)
  })

  it('comes with the publishes of a process that has opened a bounded layer', async () => {
    for (const action of ['a', 'b']) {
      await publish(action)
      later(1)
    }
    await cache.layers.configure(layer, { keepResults: 1 })
    await openCache(store, { layer }).cached('c', () => 'x')
    await expect.poll(async () => (await cache.layers.show(layer)).results).toBe(1)
    expect(await kept('a', 'b', 'c')).toEqual(['c'])
  })

  it('has bounds that are checked, changed field by field, and shown', async () => {
    const { layers } = cache
    expect(await layers.configure(layer, { keepResults: 3, keepSize: 9 })).toEqual({
      keepResults: 3,
      keepSize: 9,
    })
    expect(await layers.configure(layer, { keepSize: null, keepAgeMs: 1 })).toEqual({
      keepResults: 3,
      keepAgeMs: 1,
    })
    expect((await layers.show(layer)).bounds).toEqual({ keepResults: 3, keepAgeMs: 1 })
    const wrong = layers.configure(layer, { keep: 3 } as never)
    expect(await refusal(wrong)).toMatchObject({ code: 'EINVAL' })
    expect(await refusal(layers.configure('none', { keepSize: 1 }))).toMatchObject({
      code: 'ENONS',
    })
  })
})
