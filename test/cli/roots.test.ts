/** Pages whose root goes before the last of them: rfc/10, rule 20. */

import { afterEach, beforeEach, expect, it } from 'vitest'
import type { CommandContext } from '../../src/cli/command.js'
import { RootPages } from '../../src/cli/roots.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { type EmbeddedStore, openOn } from '../../src/open.js'
import { keptRootMs } from '../../src/past/kept-roots.js'
import { TestClock } from '../clock.js'

let clock: TestClock
let store: EmbeddedStore
let said: string[]
let call: Pick<CommandContext, 'stderr'>
beforeEach(async () => {
  clock = new TestClock()
  store = await openOn(new MemoryEngine(clock), { environment: clock })
  await store.namespaces.configure('primary', { historyCount: 1, historyAgeMs: 0 })
  await store.commit({ ops: ['a', 'b', 'c'].map((key) => ({ op: 'put', key, value: 'v' })) })
  said = []
  const line = async (text: string) => void said.push(text)
  call = { stderr: { line } } as unknown as CommandContext
})
afterEach(() => store[Symbol.asyncDispose]())

const page = (after: string) => (at: number | undefined) =>
  store.list('', { limit: 1, after, ...(at === undefined ? {} : { at }) })

it('go on at a newer root, and say so once', async () => {
  const { seq } = await store.list('', { limit: 1 })
  const pages = new RootPages(call, { seq, given: false })
  await store.put('bb', 'v')
  const second = await pages.next(page('a'), (next) => next.seq)
  expect([second.seq, second.entries[0]?.name]).toEqual([seq, 'b'])
  expect([said, pages.later]).toEqual([[], {}])
  clock.advance(keptRootMs)
  const third = await pages.next(page('b'), (next) => next.seq)
  expect([third.seq, third.entries[0]?.name]).toEqual([seq + 1, 'bb'])
  expect(said).toEqual([
    `tailrace: the root of seq ${seq} is no more retained: what follows is of seq ${seq + 1}`,
  ])
  await store.put('d', 'v')
  expect((await pages.next(page('bb'), (next) => next.seq)).seq).toBe(seq + 1)
  expect(said).toHaveLength(1)
  expect(pages.later).toEqual({ later: [seq + 1] })
})

it('end with ECOMPACTED where the caller named the root', async () => {
  const { seq } = await store.list('', { limit: 1 })
  await store.put('bb', 'v')
  clock.advance(keptRootMs)
  const pages = new RootPages(call, { seq, given: true })
  const next = pages.next(page('a'), ({ seq }) => seq)
  await expect(next).rejects.toMatchObject({ code: 'ECOMPACTED' })
  expect(said).toEqual([])
})
