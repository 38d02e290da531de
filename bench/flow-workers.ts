/** What does a target cost whose function is called in one of two worker processes, and whose result is
 *  kept durably, beside one that is called in this process, beside the same calls without a store, and
 *  beside other schedulers?
 *
 *  Graphs. D501: one target of data, and 500 that each take a slice of it, by workers of one slot and of
 *  four. C1000: a chain. W10k: 10,000, and one that joins them. R5000: 50 layers of 100. The workers are
 *  there before, and have loaded the code. Each run has an embedded store of its own, in a new
 *  directory, so that nothing is found.
 *
 *  Expected. A call is a message of 300 B and its answer of 200 B, which share writes with others: 10 to
 *  20 µs of the scheduler, and 20 µs of a worker. A result that is kept is a claim and a publish, two
 *  commits that share their syncs with those of some hundred others. In a chain nothing shares: each
 *  link is two lone commits and a round trip of 0.1 ms. More slots are of no use to functions that do
 *  not wait: they should cost nothing.
 *
 *  Peers have as many processes and slots, and one round that does not count, as ours. BullMQ: a job is
 *  added, and its end and the begin of the next one are one script of Redis, synced: 0.3 to 1 ms of two
 *  processes in turn, and a chain waits for all of it. ninja and make: a shell or awk for each target, 1
 *  to 2 ms of one of two processors, files that are not synced. Results of these outlive their
 *  processes, so that they stand beside our kept ones. dask.distributed: 0.2 to 1 ms of its scheduler,
 *  which is Python. piscina: a message to a thread and back, 10 to 30 µs. These keep nothing, so that
 *  they stand beside our results that are not kept.
 *
 *  Two processes for workers on a machine of two processors leave none for the scheduler. */

import { pathToFileURL } from 'node:url'
import type { Bench } from './bench.js'
import { bundleProject } from './bundle.js'
import type { ColumnId, Figure, Row } from './figures.js'
import { checkResults, type FlowGraph, flowGraphs, titles } from './flow-graphs.js'
import type { FlowPeer, MakeGraph } from './flow-peers/flow-peer.js'
import type { WorkerGraph } from './flow-worker-targets.js'
import type { Way } from './flow-worker-times.js'
import { withDirectory } from './scratch.js'
import type { Compared } from './systems/system.js'
import { inTurnAlone, type Measured } from './turns.js'

const processes = 2
const graphs = ['d501', 'c1000', 'w10k', 'r5000'] as const satisfies readonly WorkerGraph[]
/** The graphs that are made by workers of so many slots. */
const graphsOfSlots = new Map<number, readonly WorkerGraph[]>([
  [1, graphs],
  [4, ['d501']],
])

type Program = typeof import('./flow-worker-times.js')
const endOfName = { workers: '', here: ', here', uncached: ', not kept' } as const
type Name = `${WorkerGraph}, ${number} slots${(typeof endOfName)[Way]}`
type Files = Readonly<Record<'times' | 'targets', string>>

export const flowWorkers: Bench = {
  question: 'what does a target cost in two worker processes, its result kept durably?',
  byNameOnly: true,
  run: async ({ runs, scale, systems, flowPeers }): Promise<readonly Row[]> => {
    process.env['TAILRACE_BENCH_FLOW_SCALE'] = String(scale)
    const files = await bundleProject({
      times: 'flow-worker-times.ts',
      targets: 'flow-worker-targets.ts',
    })
    const ours: Compared<ColumnId>[] = systems.filter(({ id }) => id === 'tailrace')
    const outcomes = await inTurnAlone<Name, Compared<ColumnId>>(
      [...ours, ...flowPeers],
      runs,
      ({ id }) => {
        const peer = flowPeers.find((each) => each.id === id)
        return peer ? timesOfPeer(peer, scale) : timesOfOurs(files)
      },
    )
    const rows: Row[] = []
    const common = { bench: 'flow-workers', unit: 'µs a target', better: 'less' } as const
    /** The figures of peers whose results outlive them, or do not. */
    const figures = (name: Name, { keeps }: Pick<FlowPeer, 'keeps'>) => {
      const shown = flowPeers.filter((peer) => peer.keeps === keeps).map(({ id }) => id)
      return outcomes.figures(name).filter(({ system }) => shown.some((id) => id === system))
    }
    const ourFigure = (name: Name): Figure => {
      return { system: 'tailrace', values: outcomes.values('tailrace', name) }
    }
    for (const [slots, names] of graphsOfSlots) {
      for (const graph of names) {
        const name = `${graph}, ${slots} slots` as const
        const work = `${titles[graph]}, ${processes * slots} slots`
        const here = outcomes.values('tailrace', `${name}, here`)
        const inProcess: Figure = { system: 'file', values: here, label: 'in process' }
        rows.push(
          {
            ...{ ...common, work },
            figures: [
              ourFigure(name),
              ...(here.length > 0 ? [inProcess] : []),
              ...figures(name, { keeps: true }),
            ],
            gates: graph === 'd501' ? [{ bound: 60 }] : [],
          },
          {
            ...{ ...common, work: `${work}, not kept` },
            figures: [ourFigure(`${name}, not kept`), ...figures(name, { keeps: false })],
          },
        )
      }
    }
    return rows
  },
}

async function timesOfOurs(files: Files): Promise<Measured<Name>> {
  const { started, timesOf }: Program = await import(pathToFileURL(files.times).href)
  const times: Partial<Record<Name, number>> = {}
  for (const [slots, names] of graphsOfSlots) {
    await using workers = started({ module: files.targets, processes, slots })
    // In this process there are no slots.
    const ways: readonly Way[] =
      slots === 1 ? ['workers', 'here', 'uncached'] : ['workers', 'uncached']
    for (const graph of names) {
      for (const [way, us] of await timesOf(graph, workers, ways)) {
        times[`${graph}, ${slots} slots${endOfName[way]}`] = us
      }
    }
  }
  return times
}

async function timesOfPeer(peer: FlowPeer, scale: number): Promise<Measured<Name>> {
  const times: Partial<Record<Name, number>> = {}
  const time = async (make: MakeGraph, graph: FlowGraph) => {
    const { ms, results } = await make(graph)
    checkResults(graph, results)
    return (ms * 1_000) / graph.length
  }
  for (const [slots, names] of graphsOfSlots) {
    await withDirectory((directory) =>
      peer.with({ directory, processes, slots }, async (make) => {
        for (const name of names) {
          const graph = flowGraphs[name](scale)
          await time(make, graph)
          times[`${name}, ${slots} slots`] = await time(make, graph)
        }
      }),
    )
  }
  return times
}
