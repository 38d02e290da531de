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

it('an open makes the names of the files durable that it finds', async (context) => {
  needStrace(context, 'the order of writes')
  // Injects nothing: the first call of a run opens a store that is there.
  const options = { seed: 1, steps: 1, underWay: 1, samples: 0, share: 0, inject: [] }
  const { traced } = await tryWriteOrder(options)
  const opened = traced.calls.findIndex(({ type }) => type === 'told')
  const synced = traced.calls.slice(0, opened).flatMap((call) => {
    return call.type === 'synced' && call.ok ? [call.path.replace(/^.*\/made/, '')] : []
  })
  expect(synced).toEqual(expect.arrayContaining(['/data', '/data/store']))
}, 90_000)
