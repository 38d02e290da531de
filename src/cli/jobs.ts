/** The commands on jobs that show no output: submit, jobs, wait, signal. See rfc/11. */

import { constants } from 'node:os'
import { isJobId } from '../job/ids.js'
import { idVariable, type JobView, type Submission } from '../job/job.js'
import { exitCodeOf } from '../job/state.js'
import { parseDuration } from './duration.js'
import { argument, defined, type Invocation, UsageError } from './invocation.js'
import { quotedWord } from './quote.js'
import { withStore } from './session.js'
import { surroundingsOf } from './surroundings.js'
import { absolutePath, checkVariables } from './utf8.js'

const listDefault = 50
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
    ...defined({ name: options.text('name') }),
    ...(timeLimit === undefined ? {} : { timeLimitMs: parseDuration('--time-limit', timeLimit) }),
  }
}

export async function jobs(invocation: Invocation): Promise<undefined> {
  const { options, stdout } = invocation
  const limit = options.integer('limit', 1) ?? listDefault
  const after = options.text('after')
  return withStore(invocation, async (store) => {
    const page = await store.jobs.list({ limit, ...defined({ after }) })
    if (options.flag('json')) {
      await stdout.json(page)
      return undefined
    }
    const rows = page.jobs.map(rowOf)
    const idWidth = Math.max(2, ...page.jobs.map(({ id }) => id.length))
    for (const [id, ...columns] of [['ID', 'STATE', 'EXIT', 'TIME', 'COMMAND'], ...rows]) {
      const [state = '', exit = '', time = '', command = ''] = columns
      const head = `${(id ?? '').padEnd(idWidth)}  ${state.padEnd(9)}  ${exit.padEnd(7)}`
      await stdout.line(`${head}  ${time.padStart(8)}  ${command}`)
    }
    return undefined
  })
}

export async function wait(invocation: Invocation): Promise<number> {
  const { options, stdout, stderr } = invocation
  return withStore(invocation, async (store) => {
    const views = await Promise.all(invocation.arguments.map((id) => store.jobs.wait(id)))
    for (const view of views) {
      if (options.flag('json')) await stdout.json(view)
      else if (view.exception) await stderr.line(exceptionLine(view))
    }
    const last = views.at(-1)
    return last ? exitCodeOf(last) : 0
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
