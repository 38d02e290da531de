/** piscina: a pool of threads of this process, which knows no graph. A driver starts what is ready. Inputs
 *  go with each call, those of D501 too, since threads keep nothing between calls. */

import { pathToFileURL } from 'node:url'
import { deferred } from '../../src/base/deferred.js'
import { bundleProgram } from '../bundle.js'
import type { Value } from '../flow-graphs.js'
import { fetchedPackage, found } from '../systems/fetched.js'
import { type FlowPeer, inTime, type MakeGraph } from './flow-peer.js'
import { ReadyNodes } from './ready-nodes.js'

type Pool = { run(task: unknown): Promise<Value>; destroy(): Promise<void> }
type Piscina = { readonly Piscina: new (options: object) => Pool }

export const piscina: FlowPeer = {
  id: 'piscina',
  title: 'piscina',
  durability: 'threads of one process, results in memory; a driver of ours starts what is ready',
  keeps: false,
  found: () => found('piscina'),

  with: async ({ processes, slots }, use) => {
    const { Piscina } = (await fetchedPackage('piscina')) as Piscina
    const file = await bundleProgram('flow-peers/piscina-thread')
    const pool = new Piscina({
      filename: pathToFileURL(file).href,
      name: 'work',
      minThreads: processes,
      maxThreads: processes,
      concurrentTasksPerWorker: slots,
      execArgv: [],
    })
    try {
      return await use((graph) => inTime(made(pool, graph)))
    } finally {
      await pool.destroy()
    }
  },
}

async function made(pool: Pool, graph: Parameters<MakeGraph>[0]): ReturnType<MakeGraph> {
  const nodes = new ReadyNodes(graph)
  const all = deferred<void>()
  const begin = (at: number): void => {
    const { work, argument } = graph[at] ?? {}
    pool.run({ work, argument, inputs: nodes.inputsOf(at) }).then((result) => {
      for (const next of nodes.end(at, result)) begin(next)
      if (nodes.areMade) all.resolve()
    }, all.reject)
  }
  const began = performance.now()
  for (const at of nodes.first) begin(at)
  await all.promise
  return { ms: performance.now() - began, results: nodes.results }
}
