/** A trimmed log after a collection: what was dropped is gone, and what is left does not miss it (rfc/5). */

import { expect, it } from 'vitest'
import { open } from '../../src/open.js'

it('reads, appends and positions go on when a collection has taken what a trim dropped', async () => {
  await using store = await open()
  await store.namespaces.configure('primary', { historyCount: 1, historyAgeMs: 0 })
  const value = (n: number) => `${n} `.padEnd(300, 'x')
  const append = (from: number, to: number) =>
    store.commit({
      ops: Array.from({ length: to - from }, (_, at) => {
        return { op: 'append', key: 'log', value: value(from + at) } as const
      }),
    })
  await append(0, 2_000)
  const watching = store.watch('log', { mode: 'append', from: -5 })
  for (let at = 0; at < 6; at++) await watching.next()
  await store.commit({ ops: [{ op: 'trim', key: 'log', keep: 40 }] })
  await append(2_000, 2_001)
  const { freed } = await store.upkeep.collect()
  expect(freed.count).toBeGreaterThan(1_900)

  const whole = async () => Buffer.from((await store.get('log')) ?? []).toString()
  const left = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, at) => value(from + at)).join('')
  expect(await whole()).toBe(left(1_960, 2_001))
  expect(await watching.next()).toMatchObject({ value: { type: 'append', index: 2_000 } })
  await watching.return?.()
  // Beyond the next pages of two levels.
  await append(2_001, 3_200)
  expect(await whole()).toBe(left(1_960, 3_200))
  await store.upkeep.collect()
  expect(await whole()).toBe(left(1_960, 3_200))
  const read = await store.read('log', { index: 1_959 }).catch((error: unknown) => error)
  expect(read).toMatchObject({ code: 'ECOMPACTED', failed: { state: { base: { count: 1_960 } } } })
  await store.commit({ ops: [{ op: 'trim', key: 'log', keep: 0 }] })
  await append(3_200, 3_201)
  await store.upkeep.collect()
  expect(await whole()).toBe(left(3_200, 3_201))
})
