/** The memory engine: the contract, and that its history is bounded. */

import { expect, test } from 'vitest'
import { historyAgeMs, historyCount } from '../../src/engine/engine.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { TestClock } from '../clock.js'
import { engineContract } from './contract.js'
import { advance, collect, make } from './fixture.js'

engineContract('memory engine', async (environment) => ({
  engine: new MemoryEngine(environment),
  clean: async () => {},
}))

test('roots that are too many and too old are dropped, the newest never', async () => {
  const clock = new TestClock()
  await using engine = new MemoryEngine(clock)
  let head = await make(engine, 'n')
  for (let i = 1; i <= 2 * historyCount; i++)
    head = await advance(engine, head, `t${i}`, clock.now())
  expect((await collect(engine.history('n', -1))).length).toBe(2 * historyCount + 1) // all young
  clock.advance(historyAgeMs + 1)
  for (let i = 0; i < historyCount; i++) head = await advance(engine, head, `u${i}`, clock.now())
  const roots = await collect(engine.history('n', -1))
  expect(roots.length).toBeGreaterThanOrEqual(historyCount)
  expect(roots.length).toBeLessThan(historyCount + 1_000)
  expect(roots.at(-1)).toEqual(head.root)
  expect(roots.every((root, i) => i === 0 || root.seq === (roots[i - 1]?.seq ?? 0) + 1)).toBe(true)
})
