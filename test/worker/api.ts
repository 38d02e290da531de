/** The calls that tests of workers use, as one module for programs and tests. */

export { TailraceError } from '../../src/error.js'
export { map, packed, run, runsOf, target, targetSignal } from '../../src/flow/flow.js'
export { open } from '../../src/open.js'
export { openValues } from '../../src/value/values.js'
export { openWorkers, serveWorker, workersOf } from '../../src/worker/worker.js'
