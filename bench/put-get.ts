/** How many puts and gets of 100 B a second does one client process get, alone and with 64 in
 *  flight, on 1,000 keys?
 *
 *  Expected. Alone, an operation is a round trip over a Unix socket: two system calls and a
 *  wake-up at each end, 0.1–0.2 ms; a put adds its commit, one write and one fdatasync (0.15–0.3
 *  ms). With 64 in flight the round trips and the fdatasyncs are shared: 15–30 µs of the server a
 *  put, as an append; a get of a small value is one look into a directory that is in memory, 5–10
 *  µs, and the answer. The plain file, alone, is one write and one fdatasync in place, without a
 *  round trip; with 64 in flight it syncs one after the other. */

import type { Bench } from './bench.js'
import type { Gate, Row } from './figures.js'
import { inTurn } from './turns.js'
import { Worker } from './worker.js'

const works = [
  { name: 'put', work: 'put', inFlight: 1, gates: [{ to: 'file', ratio: 0.4 }] },
  { name: 'puts', work: 'put', inFlight: 64, gates: [{ to: 'redis', ratio: 1 }] },
  { name: 'get', work: 'get', inFlight: 1, gates: [] },
  { name: 'gets', work: 'get', inFlight: 64, gates: [{ to: 'redis', ratio: 0.7 }] },
] as const satisfies readonly {
  readonly name: string
  readonly work: 'put' | 'get'
  readonly inFlight: number
  readonly gates: readonly Gate[]
}[]
type Name = (typeof works)[number]['name']

/** V8 compiles what an operation needs in the first two seconds. */
const warmMs = 1_500
const durationMs = 800
const size = 100
const keys = 1_000

export const putGet: Bench = {
  question: 'how many puts and gets a second does one client get?',
  run: async ({ runs, scale, systems }): Promise<readonly Row[]> => {
    const keyed = systems.filter((system) => system.keyed)
    const outcomes = await inTurn<Name>(keyed, runs, async (system, server) => {
      await using client = await Worker.start(system, server)
      const rates: Partial<Record<Name, number>> = {}
      for (const { name, work, inFlight } of works) {
        const args = {
          work,
          prefix: work,
          keys,
          inFlight,
          size,
          warmMs: warmMs / scale,
          ms: durationMs / scale,
        }
        const { count, ms } = await client.run('rate', args)
        rates[name] = (count * 1_000) / ms
      }
      return rates
    })
    return works.map(({ name, work, inFlight, gates }) => ({
      bench: 'put-get',
      work: `${work} of 100 B, 1,000 keys, ${inFlight} in flight`,
      unit: `${work}s/s`,
      better: 'more',
      figures: outcomes.figures(name),
      gates,
    }))
  },
}
