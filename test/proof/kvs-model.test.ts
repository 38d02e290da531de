/** Random transactions on the whole of a store against plain values (kvs-model.ts), and every read
 *  compared: on memory, on LMDB that is opened again, on an engine that times out and refuses falsely, and
 *  over a server. See rfc/6, rfc/16. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, it } from 'vitest'
import { connect } from '../../src/client/node.js'
import { MemoryEngine } from '../../src/engine/memory.js'
import { open, openOn } from '../../src/open.js'
import { serve } from '../client/serving.js'
import { TestClock } from '../clock.js'
import { FlakyEngine } from '../engine/flaky.js'
import { history } from './kvs-drawn.js'
import { type Made, Replay } from './kvs-replay.js'
import { proofSeed } from './seed.js'

async function agree(make: () => Promise<Made>, numRuns: number): Promise<void> {
  const seed = proofSeed()
  await fc.assert(
    fc.asyncProperty(history, async (drawn) => {
      await using made = await make()
      await new Replay(made).run(drawn)
    }),
    { seed, numRuns },
  )
}

describe('the store agrees with plain values', () => {
  it(
    'in memory',
    () =>
      agree(async () => {
        const clock = new TestClock()
        const kvs = await open({ environment: clock })
        const dispose = () => kvs[Symbol.asyncDispose]()
        return {
          kvs,
          clock,
          ordered: true,
          reopen: async () => kvs,
          [Symbol.asyncDispose]: dispose,
        }
      }, 20),
    60_000,
  )

  it(
    'on an engine that times out, answers late and refuses falsely',
    () =>
      agree(async () => {
        const clock = new TestClock()
        const engine = new FlakyEngine(new MemoryEngine(clock), { seed: proofSeed() })
        const kvs = await openOn(engine, { environment: clock })
        const dispose = () => kvs[Symbol.asyncDispose]()
        return {
          kvs,
          clock,
          ordered: true,
          reopen: async () => kvs,
          [Symbol.asyncDispose]: dispose,
        }
      }, 15),
    60_000,
  )

  it(
    'on LMDB, opened again now and then',
    () =>
      agree(async () => {
        const directory = await mkdtemp(join(tmpdir(), 'tailrace-model-'))
        const clock = new TestClock()
        let kvs = await open({ directory, environment: clock })
        return {
          kvs,
          clock,
          restarts: true,
          ordered: true,
          reopen: async () => {
            await kvs[Symbol.asyncDispose]()
            kvs = await open({ directory, environment: clock })
            return kvs
          },
          [Symbol.asyncDispose]: async () => {
            await kvs[Symbol.asyncDispose]()
            await rm(directory, { recursive: true })
          },
        }
      }, 5),
    60_000,
  )

  it(
    'over a server',
    () =>
      agree(async () => {
        const clock = new TestClock()
        const serving = await serve({}, { environment: clock })
        const kvs = await connect(serving.target)
        return {
          kvs,
          clock,
          ordered: false,
          reopen: async () => kvs,
          [Symbol.asyncDispose]: async () => {
            await kvs[Symbol.asyncDispose]()
            await serving[Symbol.asyncDispose]()
          },
        }
      }, 5),
    60_000,
  )
})
