/** The times of flows by workers, measured in one program with the modules that the workers have. */

import { join } from 'node:path'
import type { FlowWorkers } from '../src/api/flow.js'
import { run } from '../src/flow/flow.js'
import { open } from '../src/open.js'
import { openWorkers } from '../src/worker/worker.js'
import { c1000, d501, sizes, w10k } from './flow-worker-targets.js'
import { median } from './measure.js'
import { withDirectory } from './scratch.js'

const rounds = 3

export type Way = 'workers' | 'here' | 'uncached'
const graphs = { d501, c1000, w10k } as const
export type GraphName = keyof typeof graphs
export const ways: readonly Way[] = ['workers', 'here', 'uncached']

/** Starts the workers. */
export function started(module: string, processes: number): FlowWorkers {
  return openWorkers({ module, processes })
}

/** Returns the median time of a target of a graph in each way, in µs; the ways take turns. */
export async function timesOf(
  graph: GraphName,
  workers: FlowWorkers,
): Promise<Readonly<Record<Way, number>>> {
  const times: Readonly<Record<Way, number[]>> = { workers: [], here: [], uncached: [] }
  for (let round = -1; round < rounds; round++) {
    for (const way of ways) {
      const us = await timeOf(way, graph, workers)
      if (round >= 0) times[way].push(us)
    }
  }
  const { workers: kept, here, uncached } = times
  return { workers: median(kept), here: median(here), uncached: median(uncached) }
}

/** Returns the time of a target in one run, in µs. */
async function timeOf(way: Way, graph: GraphName, workers: FlowWorkers): Promise<number> {
  return withDirectory(async (directory) => {
    const store =
      way === 'uncached' ? undefined : await open({ directory: join(directory, 'store') })
    const options = { ...(store && { store }), ...(way !== 'here' && { workers }) }
    const began = performance.now()
    const results = await run(graphs[graph], options).result
    const us = ((performance.now() - began) * 1_000) / sizes[graph]
    if (!results.every(Number.isInteger)) throw new Error(`${way} gave ${results}`)
    await store?.close()
    return us
  })
}
