/** A write or a sync of the store fails: two of its calls at random here, each of them in long.ts. See
 *  rfc/16. */

import { expect, it } from 'vitest'
import { mulberry32 } from '../engine/flaky.js'
import { faults, firstCallOf, tryFault } from './faults.js'
import { proofSeed, withSeed } from './seed.js'
import { needStrace } from './strace.js'

it('a write or a sync that fails is said, and takes nothing that was acknowledged', async (context) => {
  needStrace(context, 'a failing disk')
  const seed = proofSeed()
  const random = mulberry32(seed)
  for (let tries = 0; tries < 2; tries++) {
    // The first kind meets every commit; other calls are fewer, and the one that is drawn may not come.
    const fault = faults[tries === 0 ? 0 : Math.floor(random() * faults.length)]
    if (!fault) throw new Error('there are faults')
    const { name, callsMin } = fault
    const first = firstCallOf(name)
    const when = first + Math.floor(random() * Math.max(1, callsMin + 1 - first))
    const { problems, came } = await tryFault(fault, when, seed)
    expect(problems, `${name} at call ${when}: ${withSeed(seed)}`).toEqual([])
    if (tries === 0) expect(came, `${name} at call ${when}: ${withSeed(seed)}`).toBe(true)
  }
}, 90_000)

it('a new store whose first pages cannot be written is refused', async (context) => {
  needStrace(context, 'a failing disk')
  const fault = faults.find(({ name, fresh }) => fresh && name === 'pwrite64:error=EIO')
  if (!fault) throw new Error('there is that fault')
  const seed = proofSeed()
  const { problems, came } = await tryFault(fault, 1, seed)
  expect(problems, withSeed(seed)).toEqual([])
  expect(came, withSeed(seed)).toBe(true)
}, 90_000)
