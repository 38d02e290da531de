/** The commands on jobs that show no output: submit, jobs, wait, signal. See rfc/11. */

import { constants } from 'node:os'
import {
  idVariable,
  type JobFilter,
  type JobView,
  jobFilters,
  jobsPageMax,
  type Submission,
} from '../api/job.js'
import { isJobId } from '../job/ids.js'
import { exitCodeOf } from '../job/state.js'
import { parseDate, parseDuration } from './duration.js'
import { argument, defined, type Invocation, type Options, UsageError } from './invocation.js'
import { quotedWord } from './quote.js'
import { withStore } from './session.js'
import { sizeText } from './size.js'
import { surroundingsOf } from './surroundings.js'
import { terminalSize } from './terminal.js'
import { absolutePath, checkVariables } from './utf8.js'

const listDefault = 50
/** Characters of an id. */
const idWidth = 13
/** Columns of a command in the table. */
const commandWidth = 60

export async function submit(invocation: Invocation): Promise<undefined> {
  const { options, stdout } = invocation
  return withStore(invocation, async (store) => {
    const view = await store.jobs.submit(submissionOf(invocation))
    if (options.flag('json')) await stdout.json(view)
    else await stdout.line(view.id)
    return undefined
  })
}

/** The command line as a job: here, with this environment. Throws EINVAL where the directory or a variable
 *  is not UTF-8. */
export function submissionOf(invocation: Invocation): Submission {
  const { options, environment } = invocation
  checkVariables(environment)
  const env = Object.entries(environment).filter((entry): entry is [string, string] => {
    return entry[1] !== undefined
  })
  const set = options.texts('env').map(parseVariable)
  const parent = environment[idVariable]
  const timeLimit = options.text('timeLimit')
  return {
    command: invocation.arguments,
    cwd: absolutePath(options.text('cwd') ?? '.'),
    env: Object.fromEntries(env),
    ...(set.length > 0 ? { set: Object.fromEntries(set) } : {}),
    ...surroundingsOf(options),
    // Within a job, also of another server: then nobody there has that id.
    ...(parent !== undefined && isJobId(parent) ? { parent } : {}),
    ...(options.flag('keepChildren') ? { keepChildren: true } : {}),
    ...(options.flag('merge') ? { merge: true } : {}),
    ...(options.flag('pty') ? { pty: terminalSize() } : {}),
    ...defined({ name: options.text('name') }),
    ...(timeLimit === undefined ? {} : { timeLimitMs: parseDuration('--time-limit', timeLimit) }),
    ...startOf(options),
  }
}

function startOf(options: Options): { readonly startAt?: number } {
  const time = options.text('startAt')
  if (time !== undefined) return { startAt: parseDate('--start-at', time) }
  const delay = options.text('delay')
  return delay === undefined ? {} : { startAt: Date.now() + parseDuration('--delay', delay) }
}

export async function jobs(invocation: Invocation): Promise<undefined> {
  const { options, stdout, stderr } = invocation
  const all = options.flag('all')
  const limit = options.integer('limit', 1)
  if (all && limit !== undefined) throw new UsageError('--all and --limit exclude each other')
  const wanted = defined({
    limit: all ? jobsPageMax : (limit ?? listDefault),
    states: options.text('state')?.split(',').map(parseState),
    name: options.text('name'),
  })
  let after = options.text('after')
  return withStore(invocation, async ({ jobs }) => {
    if (!options.flag('json'))
      await stdout.line(rowText(['ID', 'STATE', 'EXIT', 'TIME', 'COMMAND']))
    let shown = 0
    for (;;) {
      const page = await jobs.list({ ...wanted, ...defined({ after }) })
      shown += page.jobs.length
      if (options.flag('json')) await stdout.json(page)
      else for (const view of page.jobs) await stdout.line(rowText(rowOf(view)))
      after = page.next
      if (all && after !== undefined) continue
      const rest = page.more ? '; --all shows the rest' : ''
      const text = `${grouped(shown)} of ${grouped(page.total)} jobs, ${sizeText(page.size)} in all${rest}`
      if (page.more || stderr.isTerminal) await stderr.line(`tailrace: ${text}`)
      return undefined
    }
  })
}

/** Says of each job how it ended as soon as it has. Gives the exit code of the first one, as they are named, that
 *  failed. */
export async function wait(invocation: Invocation): Promise<number> {
  const { options, stdout, stderr } = invocation
  const ids = invocation.arguments
  return withStore(invocation, async (store) => {
    const ended = async (id: string): Promise<number> => {
      const view = await store.jobs.wait(id)
      const code = exitCodeOf(view)
      if (options.flag('json')) await stdout.json(view)
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
}

export async function signal(invocation: Invocation): Promise<undefined> {
  const id = argument(invocation, 0)
  const name = parseSignal(invocation.arguments[1] ?? 'SIGTERM')
  return withStore(invocation, async (store) => {
    await store.jobs.signal(id, name)
    if (invocation.options.flag('json')) await invocation.stdout.json({ id, signal: name })
    return undefined
  })
}

function parseState(text: string): JobFilter {
  const found = jobFilters.find((filter) => filter === text)
  if (found) return found
  throw new UsageError(`--state takes some of ${jobFilters.join(',')}, not "${text}"`)
}

function rowText([
  id = '',
  state = '',
  exit = '',
  time = '',
  command = '',
]: readonly string[]): string {
  return `${id.padEnd(idWidth)}  ${state.padEnd(9)}  ${exit.padEnd(7)}  ${time.padStart(8)}  ${command}`
}

/** 1234567 → 1,234,567 */
function grouped(count: number): string {
  return count.toLocaleString('en-US')
}

/** Why a job did not run to its end. */
export function exceptionLine(view: JobView): string {
  return `tailrace: job ${view.id}: ${view.exception?.message ?? 'ended without a reason'}`
}

/** `SIGINT`, `int`, `2` → `SIGINT`. */
function parseSignal(text: string): string {
  const names = Object.entries(constants.signals)
  const upper = text.toUpperCase()
  const found = names.find(([name, number]) => {
    return name === upper || name === `SIG${upper}` || String(number) === text
  })
  if (!found) throw new UsageError(`there is no signal "${text}": SIGTERM, INT, 9, ...`)
  return found[0]
}

function parseVariable(text: string): [string, string] {
  const end = text.indexOf('=')
  if (end < 1) throw new UsageError(`--env takes NAME=VALUE, not "${text}"`)
  return [text.slice(0, end), text.slice(end + 1)]
}

export function rowOf(view: JobView): string[] {
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
