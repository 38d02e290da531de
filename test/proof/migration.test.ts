/** A store of format 1 is migrated while its process is killed, its disk fails and its power goes: some of the
 *  moments here, all of them in long.ts. See rfc/16. */

import { expect, it } from 'vitest'
import { mulberry32 } from '../engine/flaky.js'
import { firstCallOf } from './faults.js'
import { migrationCalls, tryMigration } from './migration.js'
import { proofSeed, withSeed } from './seed.js'
import { needStrace } from './strace.js'

it('every disk that the power could leave of a migration has what the store had', async (context) => {
  needStrace(context, 'the order of writes of a migration')
  const seed = proofSeed()
  const { problems, images } = await tryMigration({ seed, samples: 1, share: 0.02 })
  expect(problems, withSeed(seed)).toEqual([])
  expect(images).toBeGreaterThan(2)
}, 90_000)

it.each([
  { fault: 'signal=SIGKILL', triesMax: 2 },
  { fault: 'error=EIO', triesMax: 1 },
  { fault: 'error=ENOSPC', triesMax: 1 },
])(
  'a migration that meets $fault at some call loses nothing',
  async ({ fault, triesMax }) => {
    const seed = proofSeed()
    const random = mulberry32(seed)
    for (let tries = 0; tries < triesMax; tries++) {
      const call = migrationCalls[Math.floor(random() * 5)] ?? ''
      const inject = `${call}:${fault}:when=${firstCallOf(call) + Math.floor(random() * 2)}`
      const { problems, came } = await tryMigration({
        ...{ seed, samples: 1, share: 0.02 },
        inject,
      })
      expect(problems, `${inject}: ${withSeed(seed)}`).toEqual([])
      expect(came, `${inject}: ${withSeed(seed)}`).toBe(true)
    }
  },
  90_000,
)
