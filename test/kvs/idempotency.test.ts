/** Answers that are kept: for how long, how many, over a restart, and on an engine that times out, answers late
 *  and refuses falsely. rfc/20, rules 5 to 7. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { answerKeptMs, answerMarkMs, type Producer } from '../../src/api/transaction.js'
import { systemEnvironment } from '../../src/base/environment.js'
import { Content } from '../../src/content/content.js'
import { Draft } from '../../src/draft/draft.js'
import { standingNames } from '../../src/draft/meta.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { type EmbeddedStore, open, openOn } from '../../src/open.js'
import { answered, answerOrderPath, forgetAnswers, keepAnswer } from '../../src/present/answers.js'
import { Nodes, NodeWriter } from '../../src/tree/nodes.js'
import { emptyDir } from '../../src/treeobj/treeobj.js'
import { TestClock } from '../clock.js'
import { FlakyEngine } from '../engine/flaky.js'
import { refusal } from './expect.js'
import { fillAnswers } from './fill-answers.js'

const append = (store: EmbeddedStore, idempotencyKey: string) =>
  store.append('log', 'x', { idempotencyKey })

describe('an answer', () => {
  let clock: TestClock
  let store: EmbeddedStore
  beforeEach(async () => {
    clock = new TestClock()
    store = await openOn(new MemoryEngine(clock), { environment: clock })
  })
  afterEach(() => store[Symbol.asyncDispose]())

  it('is kept for an hour, then a mark of it for a week, then nothing', async () => {
    const first = await append(store, 'k')
    clock.advance(answerKeptMs - 1)
    expect(await append(store, 'k')).toEqual({ ...first, repeated: true })
    clock.advance(1)
    const marked = { code: 'EUNKNOWN', failed: { state: { seq: first.seq } } }
    expect(await refusal(append(store, 'k'))).toMatchObject({
      ...marked,
      message: expect.stringContaining(`seq ${first.seq}`),
    })
    clock.advance(answerMarkMs - answerKeptMs - 1)
    expect(await refusal(append(store, 'k'))).toMatchObject(marked)
    clock.advance(1)
    expect((await append(store, 'k')).result).toEqual({ index: 1, count: 2 })
    expect((await append(store, 'k')).repeated).toBe(true)
  })

  it('of another transaction is EINVAL as long as there is a mark', async () => {
    const { seq } = await append(store, 'k')
    clock.advance(answerMarkMs - 1)
    const other = store.append('log', 'other', { idempotencyKey: 'k' })
    expect(await refusal(other)).toMatchObject({ code: 'EINVAL', failed: { state: { seq } } })
    clock.advance(1)
    expect((await store.append('log', 'other', { idempotencyKey: 'k' })).repeated).toBeUndefined()
  })

  it('is not shortened by a clock that goes back', async () => {
    clock.advance(-2 * answerMarkMs)
    const first = await append(store, 'k')
    clock.advance(-answerMarkMs)
    expect(await append(store, 'k')).toEqual({ ...first, repeated: true })
  })

  it('whose root is no more retained has the newest ref', async () => {
    await store.namespaces.configure('primary', { historyCount: 1, historyAgeMs: 0 })
    const { seq } = await append(store, 'k')
    for (let more = 0; more < 5; more++) await store.put('v', `${more}`)
    const { ref, repeated } = await append(store, 'k')
    expect(repeated).toBe(true)
    const { roots } = await store.history.roots()
    const holding = roots.find((root) => root.seq === seq)
    expect(ref).toBe((holding ?? (await store.root())).ref)
  })
})

describe('a write that is sent again since a seq', () => {
  let clock: TestClock
  let store: EmbeddedStore
  beforeEach(async () => {
    clock = new TestClock()
    store = await openOn(new MemoryEngine(clock), { environment: clock })
  })
  afterEach(() => store[Symbol.asyncDispose]())

  const again = (idempotencyKey: string, idempotencySince: number) =>
    store.append('log', 'x', { idempotencyKey, idempotencySince })

  it('is EUNKNOWN once its answer was forgotten for others, and nothing is done', async () => {
    const { seq } = await append(store, 'lost')
    await fillAnswers(store)
    const refused = await refusal(again('lost', seq - 1))
    expect(refused).toMatchObject({ code: 'EUNKNOWN', failed: { state: expect.anything() } })
    const { floor } = (refused.failed?.state ?? {}) as { readonly floor: number }
    expect(floor).toBeGreaterThanOrEqual(seq)
    expect(await store.stat('log')).toMatchObject({ count: 1 })
    expect((await again('new', floor)).repeated).toBeUndefined()
    expect((await append(store, 'lost')).result).toEqual({ index: 2, count: 3 })
  }, 60_000)

  it('is EUNKNOWN once its answer is a week old, there still or not', async () => {
    const { seq } = await append(store, 'lost')
    await append(store, 'other')
    clock.advance(answerMarkMs)
    const unknown = (floor: number) => ({ code: 'EUNKNOWN', failed: { state: { floor } } })
    expect(await refusal(again('lost', seq - 1))).toMatchObject(unknown(seq))
    expect((await again('new', seq - 1)).repeated).toBeUndefined()
    expect(await refusal(again('lost', seq))).toMatchObject(unknown(seq + 1))
    expect(await refusal(again('newer', seq))).toMatchObject(unknown(seq + 1))
    expect((await again('newer', seq + 1)).result).toEqual({ index: 3, count: 4 })
  })

  it('raises the floor when its key is taken anew after a week', async () => {
    const { seq } = await append(store, 'k')
    clock.advance(answerMarkMs)
    const anew = await append(store, 'k')
    expect(anew.seq).toBe(seq + 1)
    expect(await refusal(again('other', seq - 1))).toMatchObject({
      failed: { state: { floor: seq } },
    })
    expect(await again('k', seq)).toEqual({ ...anew, repeated: true })
  })

  it('the floor stays over a restart, and no copy or namespace made of it has one', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tailrace-floor-'))
    try {
      const first = await open({ directory, environment: clock })
      await append(first, 'lost')
      clock.advance(answerMarkMs)
      await append(first, 'other')
      await first[Symbol.asyncDispose]()
      await using second = await open({ directory, environment: clock })
      const since = { idempotencyKey: 'lost', idempotencySince: 0 }
      expect(await refusal(second.append('log', 'x', since))).toMatchObject({ code: 'EUNKNOWN' })
      await second.namespaces.create('made', { from: { namespace: 'primary' } })
      const { repeated } = await second.append('log', 'x', { ...since, namespace: 'made' })
      expect(repeated).toBeUndefined()
    } finally {
      await rm(directory, { recursive: true })
    }
  })
})

describe('answers above a bound', () => {
  const bounds = { countMax: 5, sizeMax: 1_000_000 }
  const once = (at: number) => ({ name: `n${at}`, digest: new Uint8Array(32) })
  const nodes = new Nodes(new Content(new MemoryEngine(systemEnvironment)))

  /** Groups of answers of so many results each; which of them are left, and their bytes. */
  async function leftOf(groups: readonly number[][], { countMax, sizeMax } = bounds, stepMs = 0) {
    const writer = new NodeWriter(nodes)
    let dir = emptyDir
    let seq = 0
    let now = 0
    for (const group of groups) {
      const meta = new Draft(nodes, writer, dir)
      for (const count of group) {
        const results = Array.from({ length: count }, (_, index) => ({ index, count }))
        await keepAnswer({ meta, now }, once(++seq), { seq, results })
      }
      await forgetAnswers({ meta, now }, { countMax, sizeMax })
      dir = await meta.flush()
      now += stepMs
    }
    const meta = new Draft(nodes, writer, dir)
    const left: number[] = []
    for (let at = 1; at <= seq; at++)
      if (await answered({ meta, now: 0 }, once(at), seq)) left.push(at)
    const floor = left.length === seq ? 0 : (left[0] ?? seq + 1) - 1
    const since = (at: number) => answered({ meta, now: 0 }, { ...once(seq + 1), since: at }, seq)
    expect(await since(floor)).toBeUndefined()
    if (floor > 0) {
      const forgotten = { code: 'EUNKNOWN', failed: { state: { floor } } }
      expect(await refusal(since(floor - 1))).toMatchObject(forgotten)
    }
    const names: string[] = []
    for await (const name of standingNames(meta, answerOrderPath)) names.push(name)
    expect(names.map((name) => Number.parseInt(name, 16))).toEqual(left)
    return left
  }

  it('the oldest go: by number', async () => {
    expect(await leftOf([[1], [1], [1], [1], [1]])).toEqual([1, 2, 3, 4, 5])
    expect(await leftOf([[1], [1], [1], [1], [1], [1]])).toEqual([2, 3, 4, 5, 6])
    expect(await leftOf([[1, 1, 1], [1, 1, 1, 1], [1]])).toEqual([4, 5, 6, 7, 8])
  })

  it('by bytes', async () => {
    const large = { countMax: 100, sizeMax: 3_000 }
    expect(await leftOf([[200], [1], [200], [1], [1]], large)).toEqual([1, 2, 3, 4, 5])
    expect(await leftOf([[200], [1], [200], [1], [400]], large)).toEqual([4, 5])
  })

  it('and by age, some at a time, as later ones come', async () => {
    const many = Array.from({ length: 100 }, () => 1)
    const bound = { countMax: 1_000, sizeMax: 1_000_000 }
    expect(await leftOf([many, [1]], bound, answerMarkMs - 1)).toHaveLength(101)
    expect((await leftOf([many, [1]], bound, answerMarkMs)).slice(0, 2)).toEqual([65, 66])
    expect(await leftOf([many, [1], [1]], bound, answerMarkMs)).toEqual([102])
  })
})

describe('answers', () => {
  it('and producers are there after a restart', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tailrace-once-'))
    try {
      const producer = { id: 'p', epoch: 2, seq: 0 }
      const before = await open({ directory })
      const first = await append(before, 'k')
      const landed = await before.append('log', 'y', { producer })
      await before[Symbol.asyncDispose]()
      await using after = await open({ directory })
      expect(await append(after, 'k')).toEqual({ ...first, repeated: true })
      const { result } = await after.append('log', 'y', { producer })
      expect(result).toEqual({ ...landed.result, repeated: true })
    } finally {
      await rm(directory, { recursive: true })
    }
  })

  it.each([1, 2, 3, 4])('make of unknown outcomes one append each (seed %i)', async (seed) => {
    const engine = new FlakyEngine(new MemoryEngine(systemEnvironment), {
      seed,
      rate: 0.93,
      inRowMax: 50,
      faults: ['vanished', 'after'],
    })
    await using store = await openOn(engine)
    let unknown = 0
    const send = async (key: string, producer: Producer | undefined) => {
      for (;;) {
        try {
          const numbered = producer ? { producer } : { idempotencyKey: key }
          return await store.append('log', key, numbered)
        } catch (error) {
          expect(error).toMatchObject({ code: 'EUNKNOWN' })
          unknown++
        }
      }
    }
    for (let at = 0; at < 20; at++) {
      const producer = { id: 'p', epoch: 0, seq: at }
      await Promise.all([
        send(`k${at};`, undefined),
        send(`k${at};`, undefined),
        send(`p${at};`, producer),
        send(`p${at};`, producer),
      ])
    }
    expect(unknown).toBeGreaterThan(0)
    const appended = Buffer.from((await store.get('log')) ?? []).toString()
    const all = Array.from({ length: 20 }, (_, at) => [`k${at}`, `p${at}`]).flat()
    expect(appended.split(';').slice(0, -1).sort()).toEqual(all.sort())
  })
})

it('what is known of producers ends when the key expires, and when it is forgotten', async () => {
  const clock = new TestClock()
  await using store = await openOn(new MemoryEngine(clock), { environment: clock })
  const add = (seq: number, ttl?: number) => {
    const producer = { id: 'p', epoch: 0, seq }
    return store.append('log', `${seq}`, { producer, ...(ttl ? { ttl } : {}) })
  }
  await add(0, 1_000)
  await add(1)
  clock.advance(1_000)
  await expect.poll(() => store.stat('log')).toBeUndefined()
  expect(await refusal(add(2))).toMatchObject({ code: 'ECONFLICT' })
  await add(0)
  await store.upkeep.forget('log')
  expect(await refusal(add(1))).toMatchObject({ code: 'ECONFLICT' })
  expect((await add(0)).result).toEqual({ index: 0, count: 1 })
})
