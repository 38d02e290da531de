/** A write or a sync of the store fails: three of its calls at random here, each of them in long.ts. See
 *  rfc/16. */

import { expect, it } from 'vitest'
import { mulberry32 } from '../engine/flaky.js'
import { faultCallsMin, faults, firstCallOf, tryFault } from './faults.js'
import { proofSeed, withSeed } from './seed.js'
import { needStrace } from './strace.js'

it('a write or a sync that fails is said, and takes nothing that was acknowledged', async (context) => {
  needStrace(context, 'a failing disk')
  const seed = proofSeed()
  const random = mulberry32(seed)
  for (let tries = 0; tries < 3; tries++) {
    const fault = faults[Math.floor(random() * faults.length)] ?? ''
    const first = firstCallOf(fault)
    const when = first + Math.floor(random() * (faultCallsMin + 1 - first))
    const { problems, came } = await tryFault(fault, when, seed)
    expect(problems, `${fault} at call ${when}: ${withSeed(seed)}`).toEqual([])
    expect(came, `${fault} at call ${when}: ${withSeed(seed)}`).toBe(true)
  }
}, 90_000)
