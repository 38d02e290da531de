/** All benchmarks, in the order in which they run. */

import { appendLatency } from './append-latency.js'
import { appendRate } from './append-rate.js'
import type { Bench } from './bench.js'
import { cache, manyResults } from './cache.js'
import { cli } from './cli.js'
import { cold } from './cold.js'
import { collect } from './collect.js'
import { fairness } from './fairness.js'
import { fanOut } from './fan-out.js'
import { flow } from './flow.js'
import { flowIdle } from './flow-idle.js'
import { flowOutdated } from './flow-outdated.js'
import { flowWorkers } from './flow-workers.js'
import { growth } from './growth.js'
import { idle } from './idle.js'
import { jobs } from './jobs.js'
import { large } from './large.js'
import { lptest } from './lptest.js'
import { putGet } from './put-get.js'
import { tail } from './tail.js'
import { tree } from './tree.js'
import { value } from './value.js'
import { wire } from './wire.js'

export const benches: Readonly<Record<string, Bench>> = {
  lptest,
  'append-latency': appendLatency,
  'append-rate': appendRate,
  'put-get': putGet,
  'fan-out': fanOut,
  growth,
  tail,
  cold,
  collect,
  idle,
  large,
  jobs,
  cache,
  'cache-many': manyResults,
  cli,
  wire,
  tree,
  value,
  flow,
  'flow-workers': flowWorkers,
  'flow-outdated': flowOutdated,
  'flow-idle': flowIdle,
  fairness,
}
