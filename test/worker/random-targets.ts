/** Random flows as targets for workers: a module of its own, since what draws them takes long to load. */

import fc from 'fast-check'
import type { Target } from '../../src/api/flow.js'
import { target } from '../../src/flow/flow.js'
import { randomFlow } from '../flow/random-flows.js'

/** Random flows, the same in each process. A target gives a number that depends on all that it gets. */
export const random: readonly (readonly Target<number>[])[] = fc
  .sample(randomFlow, { seed: 12, numRuns: 8 })
  .map(({ targets }, flow) => {
    const made: Target<number>[] = []
    for (const [at, { sources }] of targets.entries()) {
      const inputs = sources.flatMap((source) => made[source] ?? [])
      const own = flow * 100 + at
      made.push(
        target(`r${flow}-${at}`, [own, inputs], (first, given) =>
          given.reduce((all, each) => (all * 31 + each) % 65_537, first),
        ),
      )
    }
    return made
  })
