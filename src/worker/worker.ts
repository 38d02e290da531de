/** Workers for flows: processes and threads that call the functions of targets. See rfc/25. */

import { realpathSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import {
  type FlowWorkers,
  type FlowWorkersOptions,
  type RemoteWorkersOptions,
  type ServedWorker,
  type ServeWorkerOptions,
  workerLabelsMax,
  workerSlotsMax,
  workersMax,
} from '../api/flow.js'
import type { Store } from '../api/store.js'
import {
  callback,
  check,
  checkOptions,
  checkValue,
  count,
  invalid,
  object,
  type Rule,
  shapeOf,
  shortName,
  waitMs,
} from '../base/shape.js'
import { hasSystemCode, TailraceError } from '../error.js'
import { seqMax } from './decisions.js'
import { isWorker } from './link.js'
import { WorkerPool } from './pool.js'
import { Station } from './station.js'

export { workersOf } from './offers.js'

const graceMsDefault = 5_000
const inputsSizeMaxDefault = 256 * 1024 * 1024
/** The bounds of the time after which a remote worker that is silent counts as dead, in ms. */
const [ttlMsMin, ttlMsMax] = [1_000, 10_000]

const isModule = (value: unknown) => typeof value === 'string' || value instanceof URL
const modules: Rule = {
  is: (value) =>
    isModule(value) || (Array.isArray(value) && value.length > 0 && value.every(isModule)),
  expected: 'the path or the file: URL of a module, or an array of these',
}
const oneTo = (max: number): Rule => ({
  is: (value) => count.is(value) && value !== 0 && Number(value) <= max,
  expected: `a whole number, 1 to ${max}`,
})
const upTo = (max: number): Rule => ({
  is: (value) => count.is(value) && Number(value) <= max,
  expected: `a whole number, 0 to ${max}`,
})
const labels: Rule = {
  is: (value) =>
    Array.isArray(value) && value.length <= workerLabelsMax && value.every(shortName.is),
  expected: `an array of at most ${workerLabelsMax} labels, each ${shortName.expected}`,
}
const all = shapeOf<FlowWorkersOptions>({
  ...{ module: modules, processes: upTo(workersMax), threads: upTo(workersMax) },
  ...{ slots: oneTo(workerSlotsMax), callsMax: oneTo(seqMax), inputsSizeMax: count },
  ...{ graceMs: waitMs, lifetimeMs: waitMs, labels, remote: object },
})
const lifeTtl: Rule = {
  is: (value) => count.is(value) && Number(value) >= ttlMsMin && Number(value) <= ttlMsMax,
  expected: `a whole number of ms, ${ttlMsMin} to ${ttlMsMax}`,
}
const remotes = shapeOf<RemoteWorkersOptions>({ store: object, label: shortName, ttlMs: lifeTtl }, [
  'store',
])
const serves = shapeOf<ServeWorkerOptions>(
  {
    ...{ module: modules, slots: oneTo(workerSlotsMax), labels, callsMax: oneTo(seqMax) },
    ...{ lifetimeMs: waitMs, graceMs: waitMs, ttlMs: lifeTtl, onEvent: callback },
  },
  ['module'],
)

/** Starts processes and threads that call the functions of targets, for any number of runs. Each imports
 *  the modules, which export these targets; they must not start workers themselves. To dispose of it
 *  ends them. Throws EINVAL, ENOENT (a module is not there).
 *
 *      await using workers = openWorkers({ module: new URL('./targets.js', import.meta.url) })
 *      await run(report, { store, workers }).result
 */
export function openWorkers(options: FlowWorkersOptions): FlowWorkers {
  check('options', options, all)
  if (isWorker()) {
    throw invalid(
      'a module of targets starts workers when a worker imports it: put the targets into a module of ' +
        'their own',
    )
  }
  const { module = [], threads = 0, slots = 1, lifetimeMs, remote } = options
  if (remote) check('options.remote', remote, remotes)
  const { processes = threads > 0 || remote ? 0 : availableParallelism() } = options
  const workers = processes + threads
  if (workers > 0 && options.module === undefined) throw invalid('options.module is missing')
  if (workers === 0 && !remote) throw invalid('there are no workers: give processes or threads')
  if (workers > workersMax) throw invalid(`there are at most ${workersMax} workers, not ${workers}`)
  return new WorkerPool({
    ...{ processes, threads, slots, lifetimeMs, remote, labels: options.labels ?? [] },
    modules: pathsOf(module),
    graceMs: options.graceMs ?? graceMsDefault,
    callsMax: options.callsMax ?? seqMax,
    inputsSizeMax: options.inputsSizeMax ?? inputsSizeMaxDefault,
  })
}

/** Joins a store as a worker: schedulers that use that store take it, and call functions of the targets
 *  that the modules export, in a process that it starts for each of them. What functions print goes to
 *  stderr of this process. Throws EINVAL, ENOENT (a module is not there).
 *
 *      await using worker = serveWorker(store, { module: './flow.mjs', labels: ['gpu'] })
 *      await worker.ended
 */
export function serveWorker(store: Store, options: ServeWorkerOptions): ServedWorker {
  checkValue('the store', store, object)
  checkOptions(options, serves)
  if (isWorker()) throw invalid('a module of targets joins a store when a worker imports it')
  const { slots = 1, callsMax, lifetimeMs, graceMs = graceMsDefault, ttlMs, onEvent } = options
  return new Station(store, {
    ...{ slots, labels: options.labels ?? [], callsMax, lifetimeMs, graceMs, ttlMs, onEvent },
    modules: pathsOf(options.module),
  })
}

function pathsOf(module: ServeWorkerOptions['module']): readonly string[] {
  return (Array.isArray(module) ? module : [module]).map(pathOf)
}

function pathOf(module: string | URL): string {
  const isUrl = module instanceof URL || module.startsWith('file:')
  const path = isUrl ? fileURLToPath(module) : module
  try {
    return realpathSync.native(path)
  } catch (error) {
    if (!hasSystemCode(error, 'ENOENT')) throw error
    throw new TailraceError('ENOENT', `there is no module ${path} for workers`)
  }
}
