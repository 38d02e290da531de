/** More than a server can take: a few seconds here, five minutes and 2,004 clients that never read in long.ts.
 *  How long anything takes is judged there alone. See rfc/16, rules 20 to 22. */

import { expect, it } from 'vitest'
import { overload, problemsOf } from './overload.js'
import { proofSeed, withSeed } from './seed.js'

it('a server with too much to do keeps its memory and what it acknowledged, and serves others', async () => {
  const seed = proofSeed()
  const times = { seconds: 1, measureMs: 500, deafMs: 1_500 }
  const found = await overload({ seed, ...times, times: 3, share: 0.05 })
  expect(problemsOf(found), withSeed(seed)).toEqual([])
  // It was tried.
  expect(found.phases.map(({ calls }) => calls > 0)).toEqual([true, true, true])
  expect(found.flood.due, withSeed(seed)).toBeGreaterThan(found.flood.seconds)
  expect(found.checked.appends, withSeed(seed)).toBeGreaterThan(0)
  expect(found.checked.keys, withSeed(seed)).toBeGreaterThan(0)
}, 120_000)
