/** Workers for flows: processes and threads that call the functions of targets. See rfc/25. */

import { realpathSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import {
  type FlowWorkers,
  type FlowWorkersOptions,
  workerLabelsMax,
  workerSlotsMax,
  workersMax,
} from '../api/flow.js'
import {
  checkOptions,
  count,
  invalid,
  type Rule,
  shapeOf,
  shortName,
  waitMs,
} from '../base/shape.js'
import { hasSystemCode, TailraceError } from '../error.js'
import { seqMax } from './decisions.js'
import { isWorker } from './link.js'
import { WorkerPool } from './pool.js'

const graceMsDefault = 5_000
const inputsSizeMaxDefault = 256 * 1024 * 1024

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
const all = shapeOf<FlowWorkersOptions>(
  {
    ...{ module: modules, processes: upTo(workersMax), threads: upTo(workersMax) },
    ...{ slots: oneTo(workerSlotsMax), callsMax: oneTo(seqMax), inputsSizeMax: count },
    ...{ graceMs: waitMs, lifetimeMs: waitMs, labels },
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
  checkOptions(options, all)
  if (isWorker()) {
    throw invalid(
      'a module of targets starts workers when a worker imports it: put the targets into a module of ' +
        'their own',
    )
  }
  const { module, threads = 0, slots = 1, lifetimeMs } = options
  const { processes = threads > 0 ? 0 : availableParallelism() } = options
  const workers = processes + threads
  if (workers === 0) throw invalid('there are no workers: give processes or threads')
  if (workers > workersMax) throw invalid(`there are at most ${workersMax} workers, not ${workers}`)
  const given = Array.isArray(module) ? module : [module]
  return new WorkerPool({
    ...{ processes, threads, slots, lifetimeMs, labels: options.labels ?? [] },
    modules: given.map(pathOf),
    graceMs: options.graceMs ?? graceMsDefault,
    callsMax: options.callsMax ?? seqMax,
    inputsSizeMax: options.inputsSizeMax ?? inputsSizeMaxDefault,
  })
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
