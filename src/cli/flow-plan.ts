/** `tailrace flow plan`: what a run would do, how long that takes, and with how many workers. See rfc/26,
 *  rules 11 and 12. */

import type { FlowPlan, WorkersPrediction } from '../api/flow-look.js'
import { predictMax } from '../api/flow-look.js'
import { defined } from '../base/shape.js'
import {
  argument,
  type Command,
  type CommandContext,
  command,
  file,
  many,
  option,
  UsageError,
  type ValueKind,
} from './command.js'
import type { FileTargets } from './flow-file.js'
import { amount, flow, layer } from './flow-options.js'
import { msText } from './flow-progress.js'
import { json, place } from './options.js'
import type { Output } from './output.js'
import { withStore } from './session.js'
import { integer } from './units.js'

/** The number of workers up to which the load of each is printed. */
const loadsShown = 8
/** The most names of a path in a line. */
const pathShown = 10

const workers: ValueKind<number> = {
  parse: (text, what, literal) => {
    const parsed = integer(1).parse(text, what, literal)
    if (parsed <= predictMax) return parsed
    throw new UsageError(`${what} takes at most ${predictMax}, not "${text}"`)
  },
}

/** Imports the file of a call, and finds its targets. */
type Load = (
  call: CommandContext & {
    readonly args: { readonly file: string }
    readonly options: { readonly json: boolean }
  },
  names: readonly string[],
) => Promise<FileTargets>

/** Returns the command `plan`, which imports files by `load`. */
export function planCommand(load: Load): Command {
  return command({
    name: 'plan',
    summary: 'say what flow run would do, in which order, and how long that takes',
    description:
      'List the calls that "flow run" would make, in their order, with the times at which they begin ' +
      'and that they take, by what each took last; then the time of all with -j, and the longest path, ' +
      'below which no number of workers gets. --predict N says the time for 1 to N workers. Nothing ' +
      'is made.',
    parameters: { file: argument('<file>', file), targets: argument('[target...]') },
    options: {
      flow,
      layer,
      jobs: option(
        '-j, --jobs <n>',
        'at most so many calls at a time (default: processors)',
        integer(1),
      ),
      limit: many('--limit <resource=n>', 'how much there is of what targets need: gpu=1', amount),
      predict: option('--predict <n>', 'the time of the run for 1 to n workers', workers),
      json,
      ...place,
    },
    examples: [
      'tailrace flow plan flow.mjs',
      'tailrace flow plan flow.mjs report -j 4',
      'tailrace flow plan flow.mjs --predict 16',
    ],
    run: async (call) => {
      const { args, options, stdout } = call
      const { room, targets } = await load(call, args.targets)
      return withStore(call, async (store) => {
        const planned = await room.plan(targets, {
          ...{ store, limits: Object.fromEntries(options.limit) },
          ...defined({ flow: options.flow, layer: options.layer }),
          ...defined({ concurrency: options.jobs, predict: options.predict }),
        })
        if (options.json) await stdout.json(planned)
        else await printPlan(stdout, planned)
      })
    },
  })
}

async function printPlan(stdout: Output, planned: FlowPlan): Promise<void> {
  const { calls, predictions } = planned
  await stdout.lines(
    calls.map(({ target, from, to }) => {
      return `${msText(from).padStart(9)}  ${msText(to - from).padStart(9)}  ${target}`
    }),
  )
  await stdout.lines(summaryOf(planned))
  if (!predictions) return
  await stdout.line('workers       time  load')
  await stdout.lines(predictions.map(predictionLine))
  await stdout.line(enoughText(planned))
}

function summaryOf(planned: FlowPlan): readonly string[] {
  const { calls, found, unknown, concurrency, makespanMs, workMs, path, pathMs } = planned
  if (calls.length === 0) return [`nothing to make, ${found} found`]
  const more = path.length > pathShown ? ' → …' : ''
  const names = path.slice(0, pathShown).map(({ target, ms }) => `${target} ${msText(ms)}`)
  const guessed = unknown === 0 ? '' : `; ${unknown} of them were never made: mean times`
  return [
    `${calls.length} to make, ${found} found; with -j ${concurrency} about ${msText(makespanMs)}${guessed}`,
    `work ${msText(workMs)}, longest path ${msText(pathMs)}: ${names.join(' → ')}${more}`,
  ]
}

function predictionLine({ workers, makespanMs, busyMs }: WorkersPrediction): string {
  const shares = busyMs.map((ms) => (makespanMs === 0 ? 0 : Math.round((ms / makespanMs) * 100)))
  const idle = Array.from({ length: workers - shares.length }, () => 0)
  const loads = [...shares, ...idle]
  const [least, most] = [Math.min(...loads), Math.max(...loads)]
  const text = workers <= loadsShown ? `${loads.join(' ')} %` : `${least} to ${most} %`
  return `${String(workers).padStart(7)}  ${msText(makespanMs).padStart(9)}  ${text}`
}

function enoughText({ enough, path, predictions = [] }: FlowPlan): string {
  if (enough === undefined) return `more than ${predictions.length} workers may be of use`
  const [limiting] = [...path].sort((a, b) => b.ms - a.ms)
  const by = limiting ? `: the longest path limits the run, most of all ${limiting.target}` : ''
  return `more than ${enough} workers are of no use${by}`
}
