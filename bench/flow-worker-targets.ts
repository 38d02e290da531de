/** The graphs of the benchmark of workers, as targets: a module that each worker imports. */

import { flowGraphs } from './flow-graphs.js'
import { targetsOf } from './flow-targets.js'

/** The number of targets of each graph is divided by it. */
const scale = Number(process.env['TAILRACE_BENCH_FLOW_SCALE'] ?? '1')

export const graphs = {
  d501: flowGraphs.d501(scale),
  c1000: flowGraphs.c1000(scale),
  w10k: flowGraphs.w10k(scale),
  r5000: flowGraphs.r5000(scale),
} as const
export type WorkerGraph = keyof typeof graphs

/** The last targets of each graph. */
export const wanted = {
  d501: targetsOf('d501', graphs.d501),
  c1000: targetsOf('c1000', graphs.c1000),
  w10k: targetsOf('w10k', graphs.w10k),
  r5000: targetsOf('r5000', graphs.r5000),
} as const
