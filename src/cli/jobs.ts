/** The commands on jobs that show no output: submit, jobs, jobs rm, wait, signal. See rfc/11; for
 *  removal its rules 16 to 18. */

import { constants } from 'node:os'
import { type JobFilter, type Jobs, type JobView, jobFilters, jobsPageMax } from '../api/job.js'
import { defined } from '../base/shape.js'
import { TailraceError } from '../error.js'
import { exitCodeOf } from '../job/state.js'
import {
  argument,
  command,
  flag,
  jobId,
  option,
  program,
  UsageError,
  type ValueKind,
} from './command.js'
import { json, place } from './options.js'
import type { Color, Line } from './output.js'
import { quotedWord } from './quote.js'
import { withStore } from './session.js'
import { submission, submissionOf } from './submission.js'
import { duration, integer, sizeText } from './units.js'

const listDefault = 50
/** The width of the column of ids, in characters. */
const idWidth = 13
/** The width of a command in the table, in characters. */
const commandWidth = 60

const states: ValueKind<readonly JobFilter[]> = {
  parse: (text, what) =>
    text.split(',').map((word) => {
      const found = jobFilters.find((filter) => filter === word)
      if (found) return found
      throw new UsageError(`${what} takes some of ${jobFilters.join(',')}, not "${word}"`)
    }),
  completes: { anyOf: jobFilters },
}

/** The name of a signal: `SIGINT`, `int` and `2` are `SIGINT`. */
const signalName: ValueKind<string> = {
  parse: (text) => {
    const upper = text.toUpperCase()
    const found = Object.entries(constants.signals).find(([name, number]) => {
      return name === upper || name === `SIG${upper}` || String(number) === text
    })
    if (found) return found[0]
    throw new UsageError(`there is no signal "${text}": SIGTERM, INT, 9, ...`)
  },
  completes: Object.keys(constants.signals),
}

export const submit = command({
  name: 'submit',
  summary: "submit a command as a job and print the job's id",
  parameters: { command: argument('<command...>', program) },
  passThrough: true,
  options: { ...submission, json, ...place },
  examples: ['tailrace submit -- make test', 'ID=$(tailrace submit sleep 60)'],
  makesStore: true,
  run: async (call) => {
    const { args, options, stdout } = call
    return withStore(call, async (store) => {
      const view = await store.jobs.submit(submissionOf(args.command, call))
      if (options.json) await stdout.json(view)
      else await stdout.line(view.id)
    })
  },
})

const rm = command({
  name: 'rm',
  summary: 'remove finished jobs with their output, for good',
  description:
    'Remove finished jobs: command line, events and output, out of the past and the pins of the ' +
    'namespace jobs too; "tailrace gc" then frees their bytes. A job that waits or runs is ' +
    'refused. With --output only the output goes, and the job stays in the list.',
  parameters: { ids: argument('[id...]', jobId) },
  options: {
    olderThan: option(
      '--older-than <time>',
      'all that finished so long ago: 90s, 12h, 7d',
      duration,
      { excludes: ['output'] },
    ),
    output: flag('--output', 'of the named jobs the output only'),
    dryRun: flag('--dry-run', 'only say which'),
    json,
    ...place,
  },
  examples: [
    'tailrace jobs rm ID',
    'tailrace jobs rm --older-than 7d --dry-run',
    'tailrace jobs rm --output ID',
  ],
  run: async (call) => {
    const { options, stdout } = call
    const ids = [...new Set(call.args.ids)]
    const { olderThan, output, dryRun } = options
    if ((olderThan === undefined) === (ids.length === 0)) {
      throw new UsageError('jobs rm takes the ids of jobs, or --older-than')
    }
    return withStore(call, async ({ jobs }) => {
      const going =
        olderThan === undefined
          ? named(jobs, ids, { output, dryRun })
          : pruned(jobs, olderThan, dryRun)
      const removed: string[] = []
      for await (const view of going) {
        if (options.json) removed.push(view.id)
        else await stdout.line(dryRun ? rowOf(view).join('  ') : view.id)
      }
      if (options.json) await stdout.json({ removed, dryRun })
    })
  },
})

/** Removes jobs by their ids. It looks at all of them first, so that a wrong id removes nothing. */
async function* named(
  jobs: Jobs,
  ids: readonly string[],
  { output, dryRun }: { readonly output: boolean; readonly dryRun: boolean },
): AsyncGenerator<JobView> {
  const views: JobView[] = []
  for (const id of ids) views.push(await jobs.show(id))
  const open = views.find(({ state }) => state === 'submitted' || state === 'running')
  if (open) {
    const message = `the job ${open.id} is ${open.state}: "tailrace wait" for its end or "tailrace signal" it, then remove it`
    throw new TailraceError('ECONFLICT', message)
  }
  for (const view of views) {
    if (!dryRun) await jobs.remove(view.id, { output })
    yield view
  }
}

async function* pruned(jobs: Jobs, olderThanMs: number, dryRun: boolean): AsyncGenerator<JobView> {
  for (let after: string | undefined; ; ) {
    const page = await jobs.prune({ olderThanMs, dryRun, ...defined({ after }) })
    yield* page.jobs
    if (page.next === undefined) return
    after = page.next
  }
}

export const jobs = command({
  name: 'jobs',
  summary: 'list jobs, newest first',
  options: {
    after: option('--after <id>', 'go on after that job', jobId),
    limit: option('--limit <n>', 'at most so many (default: 50)', integer(1)),
    all: flag('--all', 'all of them; with --json a line for each 1,000', { excludes: ['limit'] }),
    state: option(
      '--state <states>',
      'only some of submitted,running,finished,lost,failed (failed: lost, or not exit code 0)',
      states,
    ),
    name: option('--name <name>', 'only those of that name'),
    json,
    ...place,
  },
  examples: [
    'tailrace jobs',
    'tailrace jobs --state running,failed',
    'tailrace jobs --limit 5 --json',
    'tailrace jobs rm ID',
  ],
  commands: [rm],
  run: async (call) => {
    const { options, stdout, stderr } = call
    const { all, limit = listDefault, state, name } = options
    const wanted = defined({ limit: all ? jobsPageMax : limit, states: state, name })
    return withStore(call, async ({ jobs }) => {
      if (!options.json) await stdout.line(rowText(heads, 'bold'))
      let shown = 0
      for (let after = options.after; ; ) {
        const page = await jobs.list({ ...wanted, ...defined({ after }) })
        shown += page.jobs.length
        if (options.json) await stdout.json(page)
        else for (const view of page.jobs) await stdout.line(rowText(rowOf(view), colorOf(view)))
        after = page.next
        if (all && after !== undefined) continue
        const rest = page.more ? '; --all shows the rest' : ''
        const text = `${grouped(shown)} of ${grouped(page.total)} jobs, ${sizeText(page.size)} in all${rest}`
        if (page.more || stderr.isTerminal) await stderr.line(`tailrace: ${text}`)
        return
      }
    })
  },
})

export const wait = command({
  name: 'wait',
  summary: 'wait until jobs have finished; the exit code is that of the first one that failed',
  description:
    'Wait until all jobs have finished. The exit code is 0 if all of them ended with 0, otherwise that ' +
    'of the first one, as they are named, that did not. With --json each is printed as it ends.',
  parameters: { ids: argument('<id...>', jobId) },
  options: { json, ...place },
  examples: ['tailrace wait ID', 'tailrace wait $A $B'],
  run: async (call) => {
    const { options, stdout, stderr } = call
    const { ids } = call.args
    return withStore(call, async (store) => {
      const ended = async (id: string): Promise<number> => {
        const view = await store.jobs.wait(id)
        const code = exitCodeOf(view)
        if (options.json) await stdout.json(view)
        else if (view.exception) await stderr.line(exceptionLine(view))
        else if (code !== 0 && ids.length > 1) {
          const how = view.signal === undefined ? `exit code ${code}` : `signal ${view.signal}`
          await stderr.line(`tailrace: job ${view.id}: ended with ${how}`)
        }
        return code
      }
      const codes = await Promise.all(ids.map(ended))
      return codes.find((code) => code !== 0) ?? 0
    })
  },
})

export const signal = command({
  name: 'signal',
  summary: "send a signal to a job's process group",
  parameters: { id: argument('<id>', jobId), signal: argument('[signame]', signalName) },
  options: { json, ...place },
  examples: ['tailrace signal ID', 'tailrace signal ID SIGKILL', 'tailrace signal ID INT'],
  run: async (call) => {
    const { id, signal = 'SIGTERM' } = call.args
    return withStore(call, async (store) => {
      await store.jobs.signal(id, signal)
      if (call.options.json) await call.stdout.json({ id, signal })
    })
  },
})

const heads = ['ID', 'STATE', 'EXIT', 'TIME', 'COMMAND']

/** The colour of a job's state: green only for a job that ended with exit code 0. */
function colorOf(view: JobView): Color {
  switch (view.state) {
    case 'submitted':
      return 'blue'
    case 'running':
      return 'yellow'
    case 'finished':
      return exitCodeOf(view) === 0 ? 'green' : 'red'
    case 'lost':
      return 'red'
    default:
      return view.state satisfies never
  }
}

function rowText(
  [id = '', state = '', exit = '', time = '', command = '']: readonly string[],
  color: Color,
): Line {
  const rest = `  ${exit.padEnd(7)}  ${time.padStart(8)}  ${command}`
  return [`${id.padEnd(idWidth)}  `, { color, text: state.padEnd(9) }, rest]
}

/** Writes a number in groups of three digits: 1,234,567. */
function grouped(count: number): string {
  return count.toLocaleString('en-US')
}

/** Returns the line that says why a job did not run to its end. */
export function exceptionLine(view: JobView): string {
  return `tailrace: job ${view.id}: ${view.exception?.message ?? 'ended without a reason'}`
}

function rowOf(view: JobView): string[] {
  const ended = view.state === 'finished' || view.state === 'lost'
  const exit = ended ? (view.signal ?? String(exitCodeOf(view))) : ''
  const until = ended ? view.finished : Date.now()
  const ms = view.started === undefined || until === undefined ? undefined : until - view.started
  const time = ms === undefined ? '' : `${(ms / 1000).toFixed(1)} s`
  const words = view.command.map(quotedWord).join(' ')
  const text = view.name === undefined ? words : `${quotedWord(view.name)}: ${words}`
  const command = text.length > commandWidth ? `${text.slice(0, commandWidth - 3)}...` : text
  return [view.id, view.state, exit, time, command]
}
