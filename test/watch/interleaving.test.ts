/** Forced interleavings of roots, loads and cancels: see rfc/7. Loads are held by the engine, so that each case
 *  happens in its order every time. */

import { afterEach, beforeEach, expect, it } from 'vitest'
import type { WatchEvent, Watching } from '../../src/api/watch.js'
import { systemEnvironment } from '../../src/base/environment.js'
import { type EmbeddedStore, openOn } from '../../src/open.js'
import { refusal } from '../kvs/expect.js'
import { GatedEngine } from './gated-engine.js'

let engine: GatedEngine
let store: EmbeddedStore
let now = 0

beforeEach(async () => {
  now = 0
  const environment = { ...systemEnvironment, monotonic: () => now }
  engine = new GatedEngine(environment)
  // A cache of one byte: every blob is loaded from the engine.
  store = await openOn(engine, { cacheSize: 1, environment })
})
afterEach(async () => {
  engine.release()
  await store[Symbol.asyncDispose]()
})

it('several roots while a load is outstanding: every append once, in order', async () => {
  await store.append('k', 'a')
  const watching = append('k')
  const arrived = engine.hold()
  const first = watching.next()
  await arrived
  for (const value of ['b', 'c', 'd']) await store.append('k', value)
  engine.release()
  expect(shown((await first).value)).toBe('0 a')
  expect(await take(watching, 4)).toEqual(['live', '1 b', '2 c', '3 d'])
})

it('overwrite during the first delivery: the old history to its end, then the error', async () => {
  for (const value of ['a', 'b']) await store.append('k', value)
  const watching = append('k')
  const arrived = engine.hold()
  const first = watching.next()
  await arrived
  await store.append('k', 'c')
  await store.put('k', 'new')
  await store.append('k', 'newer')
  engine.release()
  expect(shown((await first).value)).toBe('0 a')
  expect(await take(watching, 3)).toEqual(['1 b', 'live', '2 c'])
  expect(await refusal(watching.next())).toMatchObject({ code: 'EOVERWRITTEN' })
})

it('unlink with undelivered appends: they come first, then ENOENT', async () => {
  await store.append('k', 'a')
  const watching = append('k')
  expect(await take(watching, 2)).toEqual(['0 a', 'live'])
  for (const value of ['b', 'c']) await store.append('k', value)
  await store.commit({ ops: [{ op: 'unlink', key: 'k' }] })
  await store.append('k', 'another')
  expect(await take(watching, 2)).toEqual(['1 b', '2 c'])
  expect(await refusal(watching.next())).toMatchObject({ code: 'ENOENT' })
})

it('an append and an overwrite sent at once are two groups: the append is delivered', async () => {
  await store.append('k', 'a')
  const watching = append('k')
  expect(await take(watching, 2)).toEqual(['0 a', 'live'])
  const sent = Promise.all([
    store.append('k', 'b'),
    store.append('k', 'c'),
    store.put('k', 'new'),
    store.append('k', 'newer'),
  ])
  expect(await take(watching, 2)).toEqual(['1 b', '2 c'])
  expect(await refusal(watching.next())).toMatchObject({ code: 'EOVERWRITTEN' })
  await sent
})

it.each(['while the first load is held', 'while a later load is held'])(
  'cancel %s frees the watcher, and a new one sees everything',
  async (when) => {
    for (const value of ['a', 'b']) await store.append('k', value)
    const watching = append('k')
    if (when.includes('later')) await take(watching, 1)
    const arrived = engine.hold()
    const pending = watching.next()
    await arrived
    const left = watching.return?.()
    engine.release()
    await pending
    await left
    expect(store.watchers).toBe(0)
    expect(await take(append('k'), 3)).toEqual(['0 a', '1 b', 'live'])
  },
)

it('a link that is turned during the first look is not missed', async () => {
  await store.append('old/log', 'a')
  await store.append('new/log', 'z')
  await store.commit({ ops: [{ op: 'symlink', key: 'link', target: 'old/log' }] })
  // Another store over the same engine has no node in memory yet.
  const fresh = await openOn(engine, { cacheSize: 1 })
  await fresh.put('top', 'loads the root directory')
  const watching = fresh.watch('link', { mode: 'append' })
  const arrived = engine.hold() // at the directory behind the link
  const first = watching.next()
  await arrived
  await fresh.commit({ ops: [{ op: 'symlink', key: 'link', target: 'new/log' }] })
  engine.release()
  expect(shown((await first).value)).toBe('0 a')
  expect(await take(watching, 1)).toEqual(['live'])
  expect(await refusal(watching.next())).toMatchObject({ code: 'EOVERWRITTEN' })
}, 5_000)

it('a hundred watchers of one key load each append once', async () => {
  const big = await openOn(engine, {})
  const watchings = Array.from({ length: 100 }, () =>
    big.watch('k', { mode: 'append', waitCreate: true }),
  )
  await Promise.all(watchings.map((watching) => watching.next())) // live
  const firsts = watchings.map((watching) => watching.next())
  await big.append('k', 'a')
  await Promise.all(firsts)
  const loads = big.loads
  const nexts = watchings.map((watching) => watching.next())
  await big.append('k', 'b')
  for (const next of nexts) expect(shown((await next).value)).toBe('1 b')
  expect(big.loads).toBe(loads)
  await Promise.all(watchings.map((watching) => watching.return?.()))
  expect(big.watchers).toBe(0)
})

it('a watcher that is asked for nothing loads nothing', async () => {
  const watching = append('k', true)
  expect(await take(watching, 1)).toEqual(['live'])
  const first = watching.next()
  await store.append('k', 'a')
  expect(shown((await first).value)).toBe('0 a')
  const { length } = engine.loaded
  for (let value = 0; value < 50; value++) await store.append('k', `${value}`)
  expect(engine.loaded.length).toBe(length)
})

it('a history that was replaced is kept for ten minutes for those behind, then ECOMPACTED', async () => {
  for (const value of ['a', 'b', 'c']) await store.append('k', value)
  const behind = append('k')
  expect(await take(behind, 1)).toEqual(['0 a'])
  await store.put('k', 'new')
  // The service must have seen the overwrite before the clock moves.
  const other = append('k')
  expect(await take(other, 2)).toEqual(['0 new', 'live'])
  now += 10 * 60_000
  expect(await take(behind, 1)).toEqual(['1 b'])
  now += 1
  expect(await refusal(behind.next())).toMatchObject({ code: 'ECOMPACTED' })
})

it('closing the store ends watchers with ECLOSED, waiting ones too', async () => {
  await store.append('k', 'a')
  const live = append('k')
  await take(live, 2)
  const waiting = append('none', true)
  await take(waiting, 1)
  const ends = [refusal(live.next()), refusal(waiting.next())]
  await store[Symbol.asyncDispose]()
  for (const end of ends) expect(await end).toMatchObject({ code: 'ECLOSED' })
})

function append(key: string, waitCreate = false): Watching {
  return store.watch(key, { mode: 'append', waitCreate })
}

async function take(watching: Watching, count: number): Promise<string[]> {
  const events: string[] = []
  while (events.length < count) events.push(shown((await watching.next()).value))
  return events
}

function shown(event: WatchEvent | undefined): string {
  if (event?.type === 'append') return `${event.index} ${Buffer.from(event.data)}`
  return event?.type ?? 'done'
}

it('watchers of one value load it once, and a watcher that goes loads no more of it', async () => {
  const pieces = Array.from({ length: 50 }, (_, n) => `piece ${n} `.padEnd(300, '.'))
  await store.commit({ ops: pieces.map((value) => ({ op: 'append', key: 'k', value })) })
  const watchings = [1, 2, 3, 4].map(() => store.watch('k', { mode: 'value' }))
  await Promise.all(watchings.map((watching) => watching.return?.()))
  engine.loaded.length = 0
  const watch = () => store.watch('k', { mode: 'value' })
  await watch().next()
  const alone = engine.loaded.length
  expect(alone).toBeGreaterThanOrEqual(pieces.length)
  engine.loaded.length = 0
  const values = await Promise.all([watch(), watch(), watch(), watch()].map((each) => each.next()))
  expect(values.every(({ value }) => value?.type === 'value' && value.data?.length)).toBe(true)
  expect(engine.loaded.length).toBeLessThan(2 * alone)
  engine.loaded.length = 0
  const left = watch()
  // All but the pieces themselves, and some of those.
  const arrived = engine.hold(alone - pieces.length + 5)
  const next = left.next()
  await arrived
  const returned = left.return?.()
  engine.release()
  await Promise.all([returned, next])
  const loaded = engine.loaded.length
  await store.get('k')
  expect(engine.loaded.length - loaded).toBeLessThanOrEqual(alone + 5)
  expect(loaded).toBeLessThan(alone)
})

it('a watcher of values that is behind what is retained gets the newest one, and is told so', async () => {
  await store.namespaces.configure('primary', { historyCount: 2, historyAgeMs: 0 })
  await store.put('k', '0')
  const watching = store.watch('k', { mode: 'value' })
  const next = async () => {
    const { value: event } = await watching.next()
    if (event?.type !== 'value') throw new Error('a value')
    return [Buffer.from(event.data ?? []).toString(), event.skipped]
  }
  expect(await next()).toEqual(['0', undefined])
  await store.put('k', '1') // the root before is retained: nothing is left out
  expect(await next()).toEqual(['1', undefined])
  for (let value = 2; value < 10; value++) await store.put('k', `${value}`)
  expect(await next()).toEqual(['9', true])
})
