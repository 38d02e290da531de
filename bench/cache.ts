/** What does the result cache cost: how many results a second do 64 claimants in two processes make,
 *  who all want the same ones; how long does a hit take; how long after a publish has a waiter in
 *  another process the result; and how long does a hit take among 1,000,000 results?
 *
 *  Expected. A result is two commits (the lease, then the record with its release), which all who
 *  claim at once share, and one request for the look before; the other 63 are woken by a watch and
 *  look once. A hit is one read of a small value, two system calls at each end. A waiter is told by
 *  the event of the lease's end, and looks once: a lone delivery and a round trip, 0.5–1 ms. A hit
 *  among many is the same read in a deeper tree.
 *
 *  Redis beside it has the protocol of gokart's lock: GET, SET NX PX, GET again, SET, and a script
 *  that deletes the lock of one's own; who meets a lock tries again each 100 ms, as the lock of
 *  redis-py does. It is the same client as in all other benchmarks. */

import { join } from 'node:path'
import { packAction } from '../src/cache/action.js'
import { openCache } from '../src/cache/cache.js'
import { encodeRecord, recordKey } from '../src/cache/record.js'
import { connect } from '../src/client/node.js'
import { open } from '../src/open.js'
import type { Bench } from './bench.js'
import type { Row } from './figures.js'
import { median, now, percentile } from './measure.js'
import { withDirectory } from './scratch.js'
import { tailrace } from './systems/tailrace.js'
import { inTurn } from './turns.js'
import { Worker } from './worker.js'

const claimants = 64
const warmActions = 1_000
const actions = 2_000
const hits = 2_000
const waits = 300
const size = 100

const many = 1_000_000
const few = 100
/** Results of a commit while the layer is filled, and commits in flight. */
const resultsOfCommit = 2_000
const commitsInFlight = 4

type Name = 'results' | 'hit' | 'hit p99' | 'wake' | 'wake p99'

export const cache: Bench = {
  question: 'what do a result, a hit and a wait of the result cache cost?',
  run: async ({ runs, scale, systems }): Promise<readonly Row[]> => {
    const able = systems.filter(({ id }) => id === 'tailrace' || id === 'redis')
    const outcomes = await inTurn<Name>(able, runs, async (system, server) => {
      await using one = await Worker.start(system, server)
      await using other = await Worker.start(system, server)
      const both = [one, other]
      const compute = async (prefix: string, count: number) => {
        const args = { prefix, count, inFlight: claimants / both.length, size }
        const done = await Promise.all(both.map((worker) => worker.run('compute', args)))
        const made = done.reduce((sum, each) => sum + each.made, 0)
        if (made !== count) throw new Error(`${made} results were made of ${count} actions`)
        const ms =
          Math.max(...done.map((each) => each.endMs)) -
          Math.min(...done.map((each) => each.startMs))
        return (count * 1_000) / ms
      }
      await compute('warm', Math.ceil(warmActions / scale))
      const results = await compute('results', Math.ceil(actions / scale))
      const found = await one.run('hit', {
        prefix: 'results',
        count: Math.ceil(hits / scale),
        of: Math.ceil(actions / scale),
        size,
      })
      const args = { prefix: 'waits', count: Math.ceil(waits / scale), size }
      const waiting = other.begin('await', args)
      const making = one.begin('make', args)
      const [woken] = await Promise.all([waiting.result, making.result])
      return {
        results,
        hit: percentile(found, 50),
        'hit p99': percentile(found, 99),
        wake: percentile(woken, 50),
        'wake p99': percentile(woken, 99),
      }
    })
    const row = { bench: 'cache', better: 'less', unit: 'ms' } as const
    return [
      {
        ...row,
        work: `results of ${claimants} claimants in two processes, who all want the same ones`,
        unit: 'results/s',
        better: 'more',
        figures: outcomes.figures('results'),
        gates: [{ to: 'redis', ratio: 1 }],
      },
      {
        ...row,
        work: 'a hit of 100 B, p50',
        figures: outcomes.figures('hit'),
        gates: [{ to: 'redis', ratio: 1.5 }],
      },
      { ...row, work: 'a hit of 100 B, p99', figures: outcomes.figures('hit p99') },
      {
        ...row,
        work: 'from the end of the work to a waiter in another process, p50',
        figures: outcomes.figures('wake'),
        gates: [{ to: 'redis', ratio: 1 }],
      },
      {
        ...row,
        work: 'from the end of the work to a waiter in another process, p99',
        figures: outcomes.figures('wake p99'),
      },
    ]
  },
}

/** Only ours, and minutes long. */
export const manyResults: Bench = {
  question: 'how long does a hit take among 1,000,000 results?',
  byNameOnly: true,
  run: async ({ runs, scale }): Promise<readonly Row[]> => {
    const count = Math.ceil(many / scale)
    return withDirectory(async (directory) => {
      await fill(join(directory, 'data'), count)
      await using server = await tailrace.start(directory)
      await using store = await connect(server.address)
      const times = { many: [] as number[], few: [] as number[] }
      for (let run = 0; run < runs; run++) {
        for (const [name, among] of [
          ['few', few],
          ['many', count],
        ] as const) {
          const { claim } = openCache(store, { layer: name })
          const found: number[] = []
          for (let at = 0; at < hits / scale; at++) {
            const start = now()
            const got = await claim({ at: (at * 7_919) % among })
            found.push(now() - start)
            if (got.type !== 'hit') throw new Error('a result is not there')
          }
          times[name].push(median(found))
        }
      }
      return [
        {
          bench: 'cache-many',
          work: `a hit among ${count.toLocaleString('en')} results, p50`,
          unit: 'ms',
          better: 'less',
          figures: [{ system: 'tailrace', values: times.many }],
          gates: [{ label: `among ${few}`, values: times.few, ratio: 2 }],
        },
      ]
    })
  },
}

/** Makes two layers of results, without their claims. */
async function fill(directory: string, count: number): Promise<void> {
  await using store = await open({ directory })
  const bytes = new Uint8Array(size)
  for (const [layer, among] of [
    ['few', few],
    ['many', count],
  ] as const) {
    await openCache(store).layers.create(layer)
    let next = 0
    const lane = async () => {
      while (next < among) {
        const start = next
        next += resultsOfCommit
        const end = Math.min(start + resultsOfCommit, among)
        const ops = Array.from({ length: end - start }, (_, at) => {
          const record = {
            outputs: { value: { size, bytes } },
            by: { host: 'bench', pid: 1 },
            ...{ started: 0, tookMs: 0, token: { incarnation: 'bench', seq: start + at } },
          }
          const key = recordKey(packAction({ at: start + at }).id)
          return { op: 'put', key, value: encodeRecord(record) } as const
        })
        await store.commit({ ops }, { namespace: `cache-${layer}` })
      }
    }
    await Promise.all(Array.from({ length: commitsInFlight }, lane))
  }
}
