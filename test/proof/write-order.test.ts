/** The power fails at any moment of a run on LMDB: what was acknowledged is there, the rest is whole or
 *  absent, the store opens. A part of the moments here, all of them in long.ts. See rfc/16. */

import { expect, it } from 'vitest'
import { proofSeed, withSeed } from './seed.js'
import { needStrace } from './strace.js'
import { tryWriteOrder } from './write-order.js'

it('every disk that the power could leave opens, with what was acknowledged', async (context) => {
  needStrace(context, 'the order of writes')
  const seed = proofSeed()
  const options = { seed, steps: 40, underWay: 6, samples: 3, share: 0.2 }
  const { problems, images, traced } = await tryWriteOrder(options)
  expect(problems, withSeed(seed)).toEqual([])
  // It was tried: there were writes, and acknowledgements between them.
  expect(images).toBeGreaterThan(50)
  expect(traced.calls.filter(({ type }) => type === 'told').length).toBeGreaterThan(40)
}, 90_000)
