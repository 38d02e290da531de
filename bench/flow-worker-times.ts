/** The times of flows by workers, measured in one program with the modules that the workers have. */

import { join } from 'node:path'
import type { FlowWorkers, FlowWorkersOptions } from '../src/api/flow.js'
import { run } from '../src/flow/flow.js'
import { open } from '../src/open.js'
import { openWorkers } from '../src/worker/worker.js'
import { checkResults } from './flow-graphs.js'
import { graphs, type WorkerGraph, wanted } from './flow-worker-targets.js'
import { withDirectory } from './scratch.js'

export type Way = 'workers' | 'here' | 'uncached'

/** Starts the workers. */
export function started(options: FlowWorkersOptions): FlowWorkers {
  return openWorkers(options)
}

/** Returns the time of a target of a graph in each way, in µs, behind a round that does not count; the
 *  ways take turns. */
export async function timesOf(
  graph: WorkerGraph,
  workers: FlowWorkers,
  ways: readonly Way[],
): Promise<ReadonlyMap<Way, number>> {
  for (const way of ways) await timeOf(way, graph, workers)
  const times = new Map<Way, number>()
  for (const way of ways) times.set(way, await timeOf(way, graph, workers))
  return times
}

/** Returns the time of a target in one run, in µs. */
async function timeOf(way: Way, name: WorkerGraph, workers: FlowWorkers): Promise<number> {
  const graph = graphs[name]
  return withDirectory(async (directory) => {
    await using store =
      way === 'uncached' ? undefined : await open({ directory: join(directory, 'store') })
    const options = { ...(store && { store }), ...(way !== 'here' && { workers }) }
    const began = performance.now()
    const results = await run(wanted[name], options).result
    const us = ((performance.now() - began) * 1_000) / graph.length
    checkResults(graph, results)
    return us
  })
}
