/** The server is killed with -9 while clients work on it: a few cycles here, 200 in long.ts. What
 *  the clients were told is that of a store that was never killed. See rfc/16. */

import { expect, it } from 'vitest'
import { killCycles } from './kill.js'
import { proofSeed, withSeed } from './seed.js'

it('what clients were told of a server that is killed again and again can be explained', async () => {
  const seed = proofSeed()
  const { problems, counts } = await killCycles({
    ...{ seed, cycles: 5, segmentsMin: 3 },
    ...{ processes: 2, clients: 4 },
  })
  expect(problems, withSeed(seed)).toEqual([])
  // It was tried: writes were done, and some were lost on their way.
  expect(counts['op acknowledged'], withSeed(seed)).toBeGreaterThan(20)
  expect(counts['append acknowledged'], withSeed(seed)).toBeGreaterThan(10)
  expect(counts['event'], withSeed(seed)).toBeGreaterThan(20)
  expect(counts['segments begun'], withSeed(seed)).toBeGreaterThan(2)
}, 180_000)
