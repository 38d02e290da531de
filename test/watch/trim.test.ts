/** Trims between the steps of a watch, in a forced order, on an engine that has lost what lies below the
 *  base as soon as a collection could take it (rfc/5, rfc/7). */

import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Op, TrimTo } from '../../src/api/transaction.js'
import type { From, WatchEvent, Watching } from '../../src/api/watch.js'
import { systemEnvironment } from '../../src/base/environment.js'
import type { Blobref } from '../../src/blob/blobref.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { type EmbeddedStore, openOn } from '../../src/open.js'
import { Nodes } from '../../src/tree/nodes.js'
import { reachableFrom } from '../../src/walk/reach.js'
import { refusal } from '../kvs/expect.js'
import { GatedEngine } from './gated-engine.js'

/** Keeps, when told, only what the newest root of `primary` needs. */
class LosingEngine extends GatedEngine {
  #kept: ReadonlySet<Blobref> | undefined

  async loseTheRest(root: Blobref): Promise<void> {
    const [needed, whole] = [new Set<Blobref>(), new Set<Blobref>()]
    const nodes = new Nodes({ peekNode: () => undefined, loadNode: (ref) => this.#always(ref) })
    for await (const { ref, partial } of reachableFrom(nodes, root, (at) => whole.has(at))) {
      needed.add(ref)
      if (!partial) whole.add(ref)
    }
    this.#kept = needed
  }

  /** Past the gate, and what is lost too. */
  async #always(ref: Blobref): Promise<Uint8Array> {
    const [bytes] = await MemoryEngine.prototype.load.call(this, [ref])
    return bytes ?? new Uint8Array(0)
  }

  override async load(refs: readonly Blobref[]): Promise<(Uint8Array | undefined)[]> {
    const loaded = await super.load(refs)
    return loaded.map((bytes, at) => {
      const ref = refs[at]
      return ref && this.#kept && !this.#kept.has(ref) ? undefined : bytes
    })
  }
}

let engine: LosingEngine
let store: EmbeddedStore

beforeEach(async () => {
  engine = new LosingEngine(systemEnvironment)
  // A cache of one byte: every blob is loaded from the engine.
  store = await openOn(engine, { cacheSize: 1 })
})
afterEach(async () => {
  engine.release()
  await store[Symbol.asyncDispose]()
})

it('a trim overtakes a watcher in the middle: it learns where the log begins, and resumes there', async () => {
  for (const value of ['a', 'b', 'c', 'd']) await store.append('k', value)
  const watching = append('k')
  expect(await take(watching, 1)).toEqual(['0 a'])
  const arrived = engine.hold()
  const second = watching.next()
  await arrived
  await trim({ before: 3 })
  await seen(4)
  engine.release()
  // The one that was on its way may still come; what is dropped after it does not.
  expect(shown((await second).value)).toBe('1 b')
  const error = await refusal(watching.next())
  expect(error).toMatchObject({
    code: 'ECOMPACTED',
    message: expect.stringContaining(
      'append 2 was dropped by a trim: the oldest that is left is index 3',
    ),
    failed: { state: { base: { count: 3, size: 3 }, position: { index: 3 } } },
  })
  const { position } = (error.failed?.state ?? {}) as { position?: From }
  expect(await take(append('k', position), 2)).toEqual(['3 d', 'live'])
})

it('a trim and a collection under an outstanding load: ECOMPACTED, not a hole in the store', async () => {
  for (const value of ['a', 'b', 'c']) await store.append('k', value)
  const watching = append('k')
  const arrived = engine.hold()
  const first = watching.next()
  await arrived
  await trim({ before: 2 })
  await seen(3)
  await engine.loseTheRest((await store.root()).ref)
  engine.release()
  expect(await refusal(first)).toMatchObject({
    code: 'ECOMPACTED',
    failed: { state: { base: { count: 2 }, position: { index: 2 } } },
  })
  expect(await take(append('k'), 2)).toEqual(['2 c', 'live'])
})

it('one that has passed the base goes on through the trim and the collection', async () => {
  for (let n = 0; n < 70; n++) await store.append('k', `${n}`)
  const watching = append('k', 50)
  expect(await take(watching, 10)).toHaveLength(10)
  const arrived = engine.hold()
  const next = watching.next()
  await arrived
  await trim({ before: 60 })
  engine.release()
  await engine.loseTheRest((await store.root()).ref)
  await store.append('k', '70', { seal: true })
  await engine.loseTheRest((await store.root()).ref)
  expect(shown((await next).value)).toBe('60 60')
  const rest = await take(watching, 12)
  expect(rest).toEqual([...numbers(61, 70), 'live', '70 70', 'end'])
})

it('an append and a trim of one transaction: who is at the end gets the append', async () => {
  for (const value of ['a', 'b']) await store.append('k', value)
  const watching = append('k')
  expect(await take(watching, 3)).toEqual(['0 a', '1 b', 'live'])
  const c: Op = { op: 'append', key: 'k', value: 'c' }
  await store.commit({ ops: [c, { op: 'trim', key: 'k', keep: 1 }] })
  expect(await take(watching, 1)).toEqual(['2 c'])
  // One that drops its own append says that nobody need see it.
  await store.commit({
    ops: [
      { ...c, value: 'd' },
      { op: 'trim', key: 'k', keep: 0 },
    ],
  })
  expect(await refusal(watching.next())).toMatchObject({ code: 'ECOMPACTED' })
})

it('a trim that was sent with appends of others opens a group where it would hide them', async () => {
  await store.append('k', 'a')
  const sent = Promise.all([
    store.append('k', 'b'),
    trim({ before: 1 }),
    store.append('k', 'c'),
    trim({ keep: 0 }),
    store.append('k', 'd'),
  ])
  await sent
  const base = { count: 3, size: 3 }
  expect(await store.stat('k')).toMatchObject({ count: 4, base })
  // The first three are of one group, the last trim begins another with what follows it.
  const refs = new Set((await sent).map((committed) => committed.ref))
  expect(refs.size).toBe(2)
  const [first, second, third, fourth, fifth] = (await sent).map((committed) => committed.ref)
  expect([second, third]).toEqual([first, first])
  expect(fifth).toBe(fourth)
  const { seq } = (await sent)[2] ?? { seq: 0 }
  expect(Buffer.from((await store.get('k', { at: seq })) ?? []).toString()).toBe('bc')
})

it('a root of another store that dropped all that proves the history: ECOMPACTED, then the rest', async () => {
  for (let n = 0; n < 5; n++) await store.append('k', `${n}`)
  const watching = append('k')
  expect(await take(watching, 6)).toEqual([...numbers(0, 5), 'live'])
  const other = await openOn(engine, { cacheSize: 1 })
  const ops = Array.from({ length: 95 }, (_, n): Op => {
    return { op: 'append', key: 'k', value: `${n + 5}` }
  })
  const { ref } = await other.commit({ ops: [...ops, { op: 'trim', key: 'k', before: 90 }] })
  await engine.loseTheRest(ref)
  const late = refusal(watching.next())
  await store.put('top', 'meets the root of the other store')
  await engine.loseTheRest((await store.root()).ref)
  expect(await late).toMatchObject({
    code: 'ECOMPACTED',
    failed: { state: { base: { count: 90 } } },
  })
  expect(await take(append('k'), 11)).toEqual([...numbers(90, 100), 'live'])
  expect(await take(append('k', -3), 4)).toEqual([...numbers(97, 100), 'live'])
})

it('a bare index beyond the end waits through trims', async () => {
  for (const value of ['a', 'b']) await store.append('k', value)
  const watching = append('k', 3)
  expect(await take(watching, 1)).toEqual(['live'])
  await trim({ keep: 0 })
  await store.append('k', 'c')
  await trim({ keep: 0 })
  await store.append('k', 'd')
  expect(await take(watching, 1)).toEqual(['3 d'])
})

it('a log that is put back to what it was before a trim goes on', async () => {
  for (const value of ['a', 'b', 'c']) await store.append('k', value)
  const { seq } = await store.root()
  const watching = append('k')
  expect(await take(watching, 4)).toEqual(['0 a', '1 b', '2 c', 'live'])
  await trim({ keep: 0 })
  await store.commit({ ops: [{ op: 'restore', key: 'k', at: seq }] })
  await store.append('k', 'd')
  expect(await take(watching, 1)).toEqual(['3 d'])
  expect(await take(append('k'), 5)).toEqual(['0 a', '1 b', '2 c', '3 d', 'live'])
})

function trim(to: TrimTo) {
  return store.commit({ ops: [{ op: 'trim', key: 'k', ...to }] })
}

/** The service has seen what was committed, all of `count` blobs. Loads no blob. */
async function seen(count: number): Promise<void> {
  const watching = append('k', count)
  expect(await take(watching, 1)).toEqual(['live'])
  await watching.return?.()
}

function append(key: string, from?: From): Watching {
  return store.watch(key, { mode: 'append', ...(from === undefined ? {} : { from }) })
}

function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from }, (_, at) => `${from + at} ${from + at}`)
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
