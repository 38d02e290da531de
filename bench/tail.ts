/** How long does it take to get the last 10 records of a long log?
 *
 *  Expected. One round trip, two system calls and a wake-up at each end, 0.1–0.2 ms, and no disk:
 *  the log's end is in memory. Ours opens a watch at index -10, gets 10 events of 100 B, and ends
 *  the watch; that finds a node a level of the log, whatever its length. Redis has XREVRANGE, the
 *  databases an index; for a file `tail -n` is a process, so it is left out. */

import type { Bench } from './bench.js'
import type { Row } from './figures.js'
import { percentile } from './measure.js'
import { inTurn } from './turns.js'
import { Worker } from './worker.js'

const size = 100
const records = 2_000
const count = 10
const reads = 100

export const tail: Bench = {
  question: 'how long does it take to get the last records of a log?',
  run: async ({ runs, scale, systems }): Promise<readonly Row[]> => {
    const able = systems.filter(({ id }) => !withoutEnd.has(id))
    const outcomes = await inTurn<'p50'>(able, runs, async (system, server) => {
      await using writer = await Worker.start(system, server)
      await using reader = await Worker.start(system, server)
      const length = Math.max(2 * count, Math.ceil(records / scale))
      const inFlight = system.orderedSizeMax >= size ? 64 : 1
      const args = { keys: ['log'], records: length - 1, inFlight, size }
      const writing = writer.begin('spread', args)
      await writing.ready
      writing.go()
      await writing.result
      const times = await reader.run('last', { key: 'log', length, count, reads, size })
      return { p50: percentile(times, 50) }
    })
    return [
      {
        bench: 'tail',
        work: `the last ${count} of ${records.toLocaleString('en')} records of 100 B, p50`,
        unit: 'ms',
        better: 'less',
        figures: outcomes.figures('p50'),
      },
    ]
  },
}

/** Systems that cannot read a log from its end in one request. */
const withoutEnd: ReadonlySet<string> = new Set(['file', 'nats', 'durable-streams'])
