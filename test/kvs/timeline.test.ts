/** What a long history costs, and where its pages end (rfc/10, rules 12 and 14). */

import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type History, logRootsMax } from '../../src/api/history.js'
import { Content } from '../../src/content/content.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { KeyStore } from '../../src/kvs/store.js'
import { TestClock } from '../clock.js'

/** Counts the roots that are taken from its history. */
class CountingEngine extends MemoryEngine {
  rootsTaken = 0

  override async *history(namespace: string, after: number) {
    for await (const root of super.history(namespace, after)) {
      this.rootsTaken++
      yield root
    }
  }
}

let clock: TestClock
let engine: CountingEngine
let store: KeyStore
let timeline: History

async function reopen(): Promise<void> {
  const content = new Content(engine, {})
  store = await KeyStore.open(engine, content, clock)
  timeline = store.history
}

beforeEach(async () => {
  clock = new TestClock()
  engine = new CountingEngine(clock)
  await reopen()
})
afterEach(async () => {
  await store[Symbol.asyncDispose]()
  await engine[Symbol.asyncDispose]()
})

describe('a long history', () => {
  it('is followed back in pages that look at so many roots, whatever they find', async () => {
    const { seq } = await store.put('rare', '1')
    for (let at = 0; at < logRootsMax + 5; at++) await store.put('often', `${at}`)
    const first = await timeline.log('rare')
    expect(first).toEqual({ entries: [], next: 7, oldest: 0 })
    const second = await timeline.log('rare', { before: first.next ?? 0 })
    expect(second).toMatchObject({ entries: [{ seq }], oldest: 0 })
    expect(second.next).toBeUndefined()
    const newest = await timeline.log('often', { limit: 3 })
    expect(newest.entries.map((entry) => entry.seq)).toEqual([10_006, 10_005, 10_004])
    expect(newest.next).toBe(10_004)
    const last = await timeline.log('often', { before: 5 })
    expect(last.entries.map((entry) => entry.seq)).toEqual([4, 3, 2])
    // One that is found at the very end of a page is told, and no other twice.
    const exact = await timeline.log('rare', { before: logRootsMax })
    expect(exact.entries.map((entry) => entry.seq)).toEqual([seq])
  })

  it('is listed backwards from the engine at the cost of what is asked for', async () => {
    const total = 3_000
    for (let at = 0; at < total; at++) await store.put('k', `${at}`)
    await store[Symbol.asyncDispose]()
    await reopen()
    await store.namespace().retention.floor()
    engine.rootsTaken = 0
    const { roots, more } = await timeline.roots({ newest: true, limit: 5, before: 2_000 })
    expect(roots.map(({ seq }) => seq)).toEqual([1_999, 1_998, 1_997, 1_996, 1_995])
    expect(more).toBe(true)
    expect(engine.rootsTaken).toBeLessThan(1_100)
    engine.rootsTaken = 0
    await timeline.roots({ after: 10, limit: 5 })
    expect(engine.rootsTaken).toBeLessThan(10)
  })

  it('is found backwards whatever the sizes of its groups', async () => {
    const sizes = fc.array(fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 60 })), {
      minLength: 1,
      maxLength: 40,
    })
    let round = 0
    await fc.assert(
      fc.asyncProperty(sizes, fc.integer({ min: 1, max: 9 }), async (groups, limit) => {
        const namespace = `sparse-${round++}`
        await store.spaces.create(namespace)
        for (const size of groups) {
          const puts = Array.from({ length: size }, (_, at) =>
            store.put(`k${at}`, 'v', { namespace }),
          )
          await Promise.all(puts)
        }
        await store[Symbol.asyncDispose]()
        await reopen()
        const { roots } = await timeline.roots({ namespace })
        expect(roots).toHaveLength(groups.length + 1)
        const back: (typeof roots)[number][] = []
        for (;;) {
          const before = back.at(-1)?.seq
          const where = before === undefined ? {} : { before }
          const page = await timeline.roots({ namespace, newest: true, limit, ...where })
          back.push(...page.roots)
          if (!page.more) break
        }
        expect(back).toEqual(roots.toReversed())
      }),
      { numRuns: 10 },
    )
  })
})
