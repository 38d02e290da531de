/** How much CPU does a server take while 100 watchers wait and nothing happens, and how much memory?
 *
 *  Expected. Nothing polls: each connection has a ping in 30 s, which is 100 small writes and reads, 2
 *  ms of CPU or 0.01 %. After its last work V8 collects all garbage up to three times, 8 s apart: the
 *  rest begins after that. The memory is Node's own, 30 MB, and a few KiB for each watcher and its
 *  connection. Of ours alone. */

import { setTimeout as delay } from 'node:timers/promises'
import { MemoryPeak } from '../src/cli/measure.js'
import type { Bench } from './bench.js'
import type { Row } from './figures.js'
import { cpuNsOf } from './measure.js'
import { inTurn } from './turns.js'
import { Worker } from './worker.js'

const watchers = 100
const size = 100
const settleMs = 30_000
const restMs = 10_000

export const idle: Bench = {
  question: 'how much CPU and memory does a server take while its watchers wait?',
  run: async ({ runs, scale, systems }): Promise<readonly Row[]> => {
    const able = systems.filter(({ id }) => id === 'tailrace')
    const outcomes = await inTurn<'cpu' | 'memory'>(able, runs, async (system, server) => {
      if (server.pid === undefined) return {}
      await using writer = await Worker.start(system, server)
      await using watching = await Worker.start(system, server)
      const keys = Array.from({ length: watchers }, (_, at) => `idle/${at}`)
      const args = { keys, size }
      // It makes the keys, and is not told to go.
      await writer.begin('spread', { ...args, records: watchers, inFlight: 16 }).ready
      await watching.begin('watch', { ...args, watchers, connections: 'own', records: 1 }).ready
      await delay(settleMs / scale)
      const before = cpuNsOf(server.pid)
      await delay(restMs / scale)
      const nanoseconds = cpuNsOf(server.pid) - before
      const percent = (100 * nanoseconds) / 1e6 / (restMs / scale)
      return { cpu: percent, memory: (new MemoryPeak(server.pid).end() ?? Number.NaN) / 1e6 }
    })
    const work = `${watchers} watchers of as many keys, a connection each`
    const row = { bench: 'idle', better: 'less' } as const
    return [
      {
        ...row,
        work: `${work}: CPU of the server`,
        unit: '% of a core',
        figures: outcomes.figures('cpu'),
        gates: [{ bound: 0.1 }],
      },
      {
        ...row,
        work: `${work}: memory of the server`,
        unit: 'MB',
        figures: outcomes.figures('memory'),
      },
    ]
  },
}
