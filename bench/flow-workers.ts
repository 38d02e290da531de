/** What does a target cost whose function is called in one of two worker processes, and whose result is
 *  kept durably, beside one that is called in this process, and beside the same calls without a store?
 *
 *  Graphs. D501: one target of data, and 500 that each take a slice of it. C1000: a chain. W10k: 10,000,
 *  and one that joins them. The workers are there before, and have loaded the code. Each run has an
 *  embedded store of its own, in a new directory, so that nothing is found.
 *
 *  Expected. A call is a message of 300 B and its answer of 200 B, which share writes with others: 10 to
 *  20 µs of the scheduler, and 20 µs of a worker. A result that is kept is a claim and a publish, two
 *  commits that share their syncs with those of some hundred others. In a chain nothing shares: each
 *  link is two lone commits and a round trip of 0.1 ms.
 *
 *  Two processes for workers on a machine of two processors leave none for the scheduler. */

import { pathToFileURL } from 'node:url'
import type { Bench } from './bench.js'
import { bundleProject } from './bundle.js'
import type { Row } from './figures.js'
import type { GraphName } from './flow-worker-times.js'

const processes = 2

const graphs: Readonly<Record<GraphName, string>> = {
  d501: 'D501, 1 target of data and 500 that take a slice',
  c1000: 'C1000, a chain',
  w10k: 'W10k, 10,000 and one that joins them',
}

type Program = typeof import('./flow-worker-times.js')

export const flowWorkers: Bench = {
  question: 'what does a target cost in two worker processes, its result kept durably?',
  byNameOnly: true,
  run: async ({ runs, scale }): Promise<readonly Row[]> => {
    process.env['TAILRACE_BENCH_FLOW_SCALE'] = String(scale)
    const files = await bundleProject({
      times: 'flow-worker-times.ts',
      targets: 'flow-worker-targets.ts',
    })
    const { started, timesOf }: Program = await import(pathToFileURL(files.times).href)
    await using workers = started(files.targets, processes)
    const rows: Row[] = []
    for (const [graph, work] of Object.entries(graphs) as [GraphName, string][]) {
      const times = { workers: [] as number[], here: [] as number[], uncached: [] as number[] }
      for (let at = 0; at < runs; at++) {
        const { workers: kept, here, uncached } = await timesOf(graph, workers)
        times.workers.push(kept)
        times.here.push(here)
        times.uncached.push(uncached)
      }
      const common = { bench: 'flow-workers', unit: 'µs a target', better: 'less' } as const
      rows.push(
        {
          ...{ ...common, work },
          figures: [
            { system: 'tailrace', values: times.workers },
            { system: 'file', values: times.here, label: 'in process' },
          ],
          gates: graph === 'd501' ? [{ bound: 60 }] : [],
        },
        {
          ...{ ...common, work: `${work}, not kept` },
          figures: [{ system: 'tailrace', values: times.uncached }],
        },
      )
    }
    return rows
  },
}
