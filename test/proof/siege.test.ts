/** Honest clients beside hostile ones: some kinds here, an hour and all kinds in long.ts. How long the honest ones wait
 *  is judged there alone, on a machine that does nothing else. See rfc/16. */

import { expect, it } from 'vitest'
import { mulberry32 } from '../engine/flaky.js'
import { proofSeed, withSeed } from './seed.js'
import { kindNames, problemsOf, siege } from './siege.js'

const kindsTried = 6

it('honest clients get right answers beside hostile ones, and memory stays bounded', async () => {
  const seed = proofSeed()
  const random = mulberry32(seed)
  const kinds = kindNames
    .map((name) => ({ name, at: random() }))
    .sort((a, b) => a.at - b.at)
    .slice(0, kindsTried)
    .map(({ name }) => name)
  const found = await siege({ seed, minutes: 0, kinds, phaseMs: 600, restMs: 100, share: 0.2 })
  expect(problemsOf(found), withSeed(seed)).toEqual([])
  // It was tried: calm before and after, and each kind.
  expect(found.phases.length).toBe(kindsTried + 2)
  const calls = found.phases.reduce((sum, phase) => sum + phase.calls, 0)
  expect(calls, withSeed(seed)).toBeGreaterThan(100)
}, 90_000)
