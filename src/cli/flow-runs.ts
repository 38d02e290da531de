/** `tailrace flow ls` and `show`: the runs of a flow, as their logs tell them. See rfc/24, rule 28.
 *  Invariant: nothing is known of a run but its log, so that one without an end is told as such. */

import type { Store } from '../api/store.js'
import { isCode, TailraceError } from '../error.js'
import { argument, command, flag, option } from './command.js'
import { printEvents } from './eventlog.js'
import { countsText, type FlowCounts, FlowTally, msText } from './flow-progress.js'
import { json, jsonLines, place, utc } from './options.js'
import type { Color } from './output.js'
import { followStore, withStore } from './session.js'
import { integer, timeText } from './units.js'

const runsDefault = 20

const flow = option('--flow <name>', 'the flow (default: main)')

/** A run as `ls` tells it. Times are in ms, since 1970 for its begin. */
type RunSummary = FlowCounts & {
  readonly run: string
  readonly begin: number
  /** The time from its first event to its last. */
  readonly ms: number
  /** unended: it goes on, or its process was killed. */
  readonly state: 'ok' | 'failed' | 'unended'
}

const colors = { ok: 'green', failed: 'red', unended: 'yellow' } as const satisfies Record<
  RunSummary['state'],
  Color
>

const ls = command({
  name: 'ls',
  summary: 'list runs, the newest first: id, begin, duration, state, what they made',
  description:
    'List the runs of a flow, the newest first: id, begin, duration, state (ok, failed; unended: it ' +
    'goes on, or was killed), and how many targets it made, found in the store, and could not make.',
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
      const newest = await newestRuns(store, options.flow, options.limit ?? runsDefault)
      for (const run of newest) {
        const summary = await summaryOf(store, options.flow, run)
        if (options.json) runs.push(summary)
        else {
          const { begin, ms, state } = summary
          await stdout.line([
            `${run}  ${timeText(begin, options)}  ${msText(ms).padStart(8)}  `,
            { color: colors[state], text: state.padEnd('unended'.length) },
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
      const { key, scope } = await logOf(options.flow, args.run)
      if (!(await store.stat(key, scope).catch(noFlow))) {
        throw new TailraceError('ENOENT', `the flow ${nameOf(options.flow)} has no run ${args.run}`)
      }
      await printEvents(call, (options.follow ? followEvents : readEvents)(store, key, scope))
    })
  },
})

/** The commands of `tailrace flow` for its runs. */
export const runCommands = [ls, show]

/** Returns the ids of the newest runs, newest first. Throws ENOENT where there are none. */
async function newestRuns(
  store: Store,
  flow: string | undefined,
  limit: number,
): Promise<readonly string[]> {
  const { key, scope } = await logOf(flow, '')
  const newest: string[] = []
  for (let after = ''; ; ) {
    const page = await store.list(key, { ...scope, after }).catch(noFlow)
    const names = page?.entries.map(({ name }) => name) ?? []
    newest.push(...names)
    newest.splice(0, newest.length - limit)
    if (!page?.more) break
    after = names.at(-1) ?? after
  }
  if (newest.length > 0) return newest.reverse()
  throw new TailraceError('ENOENT', `the flow ${nameOf(flow)} has no runs`)
}

/** Reads the log of a run, and counts. */
async function summaryOf(store: Store, flow: string | undefined, run: string): Promise<RunSummary> {
  const { readEvents } = await import('../eventlog/eventlog.js')
  const { key, scope } = await logOf(flow, run)
  const tally = new FlowTally()
  let begin: number | undefined
  let last = 0
  let state: RunSummary['state'] = 'unended'
  for await (const { timestamp, name, context } of readEvents(store, key, scope)) {
    begin ??= timestamp
    last = timestamp
    const target = context?.['target']
    if (typeof target === 'string') tally.take(name, target)
    if (name === 'end') state = context?.['failed'] === undefined ? 'ok' : 'failed'
  }
  const from = begin ?? last
  const times = { begin: Math.round(from * 1_000), ms: Math.round((last - from) * 1_000) }
  return { run, ...times, state, ...tally.counts }
}

/** Returns the key of the log of a run, that of all logs for an empty name. Throws EINVAL. */
async function logOf(flow: string | undefined, run: string) {
  const { namespaceOfFlow } = await import('../flow/place.js')
  const key = run === '' ? 'runs' : `runs/${run}`
  return { key, scope: { namespace: namespaceOfFlow(nameOf(flow)) } }
}

function nameOf(flow: string | undefined): string {
  return flow ?? 'main'
}

/** Takes the errors for a flow that never ran for undefined. */
function noFlow(error: unknown): undefined {
  if (!isCode(error, 'ENONS') && !isCode(error, 'ENOENT')) throw error
  return undefined
}
