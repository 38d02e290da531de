/** `tailrace flow ls` and `show`: the runs of a flow, as their logs and their leases tell them. See
 *  rfc/24, rule 28, and rfc/26. */

import type { FlowRuns, RunFacts, RunState } from '../api/flow-look.js'
import type { Store } from '../api/store.js'
import { defined } from '../base/shape.js'
import { TailraceError } from '../error.js'
import { argument, command, flag, option } from './command.js'
import { printEvents } from './eventlog.js'
import { flow } from './flow-options.js'
import { countsText, type FlowCounts, FlowTally, msText } from './flow-progress.js'
import { json, jsonLines, place, utc } from './options.js'
import type { Color } from './output.js'
import { followStore, withStore } from './session.js'
import { integer, timeText } from './units.js'

const runsDefault = 20

/** A run as `ls` tells it. Times are in ms, since 1970 for its begin. */
type RunSummary = FlowCounts & {
  readonly run: string
  readonly begin: number
  /** The time from its first event to its last. */
  readonly ms: number
  readonly state: RunState
}

/** The colours of the states of runs. */
export const stateColors: Readonly<Record<RunState, Color>> = {
  running: 'blue',
  ok: 'green',
  failed: 'red',
  canceled: 'yellow',
  killed: 'red',
}

const ls = command({
  name: 'ls',
  summary: 'list runs, the newest first: id, begin, duration, state, what they made',
  description:
    'List the runs of a flow, the newest first: id, begin, duration, state (running, ok, failed, ' +
    'canceled; killed: its process ended before it did), and how many targets it made, found in the ' +
    'store, and could not make.',
  options: {
    flow,
    limit: option('--limit <n>', `at most so many (default: ${runsDefault})`, integer(1)),
    utc,
    json,
    ...place,
  },
  examples: ['tailrace flow ls', 'tailrace flow ls --limit 3 --json'],
  run: async (call) => {
    const { options, stdout } = call
    return withStore(call, async (store) => {
      const runs: RunSummary[] = []
      const all = await runsIn(store, options.flow)
      const newest = await all.newest(options.limit ?? runsDefault)
      if (newest.length === 0) throw noRuns(options.flow)
      for (const run of newest) {
        const summary = await summaryOf(store, options.flow, await all.show(run))
        if (options.json) runs.push(summary)
        else {
          const { begin, ms, state } = summary
          await stdout.line([
            `${run}  ${timeText(begin, options)}  ${msText(ms).padStart(8)}  `,
            { color: stateColors[state], text: state.padEnd('canceled'.length) },
            `  ${countsText(summary)}`,
          ])
        }
      }
      if (options.json) await stdout.json({ runs })
    })
  },
})

const show = command({
  name: 'show',
  summary: 'print the events of a run, one JSON object a line',
  parameters: { run: argument('<run>') },
  options: {
    flow,
    follow: flag('--follow', 'go on with each new event, until the run ends'),
    json: jsonLines,
    ...place,
  },
  examples: ['tailrace flow show RUN', 'tailrace flow show RUN --follow'],
  run: async (call) => {
    const { args, options } = call
    const within = options.follow ? followStore : withStore
    return within(call, async (store) => {
      const { followEvents, readEvents } = await import('../eventlog/eventlog.js')
      // It says what is not there.
      await (await runsIn(store, options.flow)).show(args.run)
      const { logOf } = await import('../flow/runs.js')
      const { key, ...scope } = logOf(options.flow, args.run)
      await printEvents(call, (options.follow ? followEvents : readEvents)(store, key, scope))
    })
  },
})

/** The commands of `tailrace flow` for its runs. */
export const runCommands = [ls, show]

/** Reads the log of a run, and counts. */
async function summaryOf(
  store: Store,
  flow: string | undefined,
  { run, state }: RunFacts,
): Promise<RunSummary> {
  const { readEvents } = await import('../eventlog/eventlog.js')
  const { logOf } = await import('../flow/runs.js')
  const { key, ...scope } = logOf(flow, run)
  const tally = new FlowTally()
  let begin: number | undefined
  let last = 0
  for await (const { timestamp, name, context } of readEvents(store, key, scope)) {
    begin ??= timestamp
    last = timestamp
    const target = context?.['target']
    if (typeof target === 'string') tally.take(name, target)
  }
  const from = begin ?? last
  const times = { begin: Math.round(from * 1_000), ms: Math.round((last - from) * 1_000) }
  return { run, ...times, state, ...tally.counts }
}

/** Returns the runs of a flow. Throws EINVAL. */
export async function runsIn(store: Store, flow: string | undefined): Promise<FlowRuns> {
  const { runsOf } = await import('../flow/runs.js')
  return runsOf({ store, ...defined({ flow }) })
}

/** Returns the error for a flow that never ran. */
export function noRuns(flow: string | undefined): TailraceError {
  return new TailraceError('ENOENT', `the flow ${nameOf(flow)} has no runs`)
}

function nameOf(flow: string | undefined): string {
  return flow ?? 'main'
}
