/** All schedulers that the benchmarks of flows compare with ours. p-graph, which has no workers, stands in
 *  bench/flow.ts. */

import { bullmq } from './bullmq.js'
import { dask } from './dask.js'
import type { FlowPeer } from './flow-peer.js'
import { make, ninja } from './make-ninja.js'
import { piscina } from './piscina.js'

export const flowPeers: readonly FlowPeer[] = [bullmq, dask, piscina, ninja, make]
