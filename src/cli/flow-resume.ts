/** `tailrace flow resume` and `cancel`: a run is begun again, or ended, from another process. See rfc/26,
 *  rules 1 to 5.
 *  Invariant: a resumed run is `flow run` with the words that began the old one, read anew by the
 *  same declaration. */

import { hostname, userInfo } from 'node:os'
import type { RunOrigin } from '../api/flow.js'
import type { FlowRuns, RunFacts } from '../api/flow-look.js'
import { defined, invalid } from '../base/shape.js'
import { hasSystemCode, TailraceError } from '../error.js'
import {
  argument,
  type Command,
  command,
  directory,
  flag,
  option,
  type ParsedArguments,
} from './command.js'
import { flow } from './flow-options.js'
import { noRuns, runsIn } from './flow-runs.js'
import { json, place } from './options.js'
import { type PlaceCall, withStore } from './session.js'

/** The number of newest runs among which one is looked for that can be resumed. */
const looksMax = 100
/** The most names of targets that a run tells of how it was begun. */
const namesMax = 1_000
/** The options that a resumed run does not take over: the store, the form of the output, and what
 *  `resume` gives itself. */
const ownOptions: readonly string[] = [...Object.keys(place), 'json', 'flow', 'resumes']

type RunCall = {
  readonly args: { readonly file: string; readonly targets: readonly string[] }
  readonly given: ParsedArguments['options']
}

/** Returns what the log of a run tells of its command line; undefined if that names too many targets. */
export function originOf({ args, given }: RunCall): RunOrigin | undefined {
  if (args.targets.length > namesMax) return undefined
  const options = Object.entries(given).filter(
    ([name, value]) => !ownOptions.includes(name) && isGiven(value),
  ) as [string, RunOrigin['options'][string]][]
  const { file, targets } = args
  return { file, directory: process.cwd(), targets, options: Object.fromEntries(options) }
}

function isGiven(value: unknown): value is RunOrigin['options'][string] {
  if (Array.isArray(value))
    return value.length > 0 && value.every((each) => typeof each === 'string')
  return typeof value === 'string' || value === true
}

/** Returns the command `resume`, which runs `run` again. */
export function resumeCommand(run: Command): Command {
  return command({
    name: 'resume',
    summary: 'begin a run again that was killed, failed or canceled; what it finished is found',
    description:
      'Begin a new run of the file, the targets and the options of an old one, in its working ' +
      'directory: by default the newest that was killed or canceled, or failed, unless a newer one ' +
      'made the same targets. What the old one had finished is found in the store. A killed run is known as such ' +
      'after 10 s at most: until then it is EBUSY, or with --wait waited for.',
    parameters: { run: argument('[run]') },
    options: {
      flow,
      directory: option(
        '-C, --directory <dir>',
        'the working directory (default: that of the old run)',
        directory,
      ),
      wait: flag('--wait', 'wait until the old run does not go on any more'),
      json: flag('--json', 'print events as JSON, as run does; errors too'),
      ...place,
    },
    examples: ['tailrace flow resume', 'tailrace flow resume RUN --wait'],
    run: async (call) => {
      const { args, options, stdout, stderr, environment, given } = call
      const old = await oldRun(call, args.run)
      const { origin } = old
      if (!origin) {
        throw invalid(`run ${old.run} was begun by a program: only that can begin it again`)
      }
      changeDirectory(options.directory ?? origin.directory)
      checkOptions(run, old.run, origin)
      if (!options.json) {
        const words = [origin.file, ...origin.targets].join(' ')
        await stderr.line(`resume ${old.run} (${old.state}): ${words}`)
      }
      const own = Object.fromEntries(ownOptions.map((name) => [name, given[name]]))
      return run.run?.(
        { stdout, stderr, environment },
        {
          words: [origin.file, ...origin.targets],
          literals: 1 + origin.targets.length,
          options: { ...unset(run), ...origin.options, ...own, resumes: old.run },
        },
      )
    },
  })
}

/** Returns the options of a command that were not given, as the parser tells them. */
function unset({ options }: Command): ParsedArguments['options'] {
  const several = Object.entries(options).filter(([, { many }]) => many)
  return Object.fromEntries(several.map(([name]) => [name, []]))
}

/** Throws EINVAL for options that this version does not know. */
function checkOptions({ options }: Command, run: string, origin: RunOrigin): void {
  const unknown = Object.entries(origin.options).find(
    ([name, value]) =>
      !Object.hasOwn(options, name) || ownOptions.includes(name) || !isGiven(value),
  )
  if (!unknown) return
  throw invalid(`run ${run} was begun with an option that this version has not: ${unknown[0]}`)
}

function changeDirectory(to: string): void {
  try {
    process.chdir(to)
  } catch (error) {
    if (!hasSystemCode(error, 'ENOENT')) throw error
    throw new TailraceError('ENOENT', `there is no directory ${to} here: give it by --directory`)
  }
}

type ResumeCall = PlaceCall & {
  readonly options: { readonly flow: string | undefined; readonly wait: boolean }
}

/** Finds the run that is to be resumed. Throws ENOENT, EBUSY (it goes on), ECONFLICT (it ended well). */
function oldRun(call: ResumeCall, named: string | undefined): Promise<RunFacts> {
  const { options } = call
  return withStore(call, async (store) => {
    const runs = await runsIn(store, options.flow)
    const run = named ?? (await newestUnmade(runs, call))
    const facts = options.wait ? await runs.ended(run) : await runs.show(run)
    if (facts.state === 'running') {
      const message = `run ${run} goes on, or was killed just now: --wait waits for its end`
      throw new TailraceError('EBUSY', message)
    }
    if (facts.state !== 'ok') return facts
    throw new TailraceError('ECONFLICT', `run ${run} has ended well: there is nothing to resume`)
  })
}

/** Returns the newest run that has not made its targets, but none that a newer one went on with, nor one of
 *  the same targets as a newer one. */
async function newestUnmade(runs: FlowRuns, { options }: ResumeCall): Promise<string> {
  const newest = await runs.newest(looksMax)
  if (newest.length === 0) throw noRuns(options.flow)
  const resumed = new Set<string>()
  const replaced = new Set<string>()
  for (const run of newest) {
    const { state, resumes, origin } = await runs.show(run)
    const isReplaced = resumed.has(run) || replaced.has(targetsText(origin))
    if (state !== 'ok' && !isReplaced) return run
    if (resumes !== undefined) resumed.add(resumes)
    if (origin) replaced.add(targetsText(origin))
  }
  const message = `none of the last ${newest.length} runs can be resumed: each has ended well`
  throw new TailraceError('ENOENT', `${message}, or a newer one made its targets`)
}

/** Returns a text that is equal for runs of the same targets. */
function targetsText(origin: RunOrigin | undefined): string {
  return origin ? JSON.stringify([origin.directory, origin.file, origin.targets]) : ''
}

export const cancelRun = command({
  name: 'cancel',
  summary: 'end a run of another process: what runs is told, and nothing more begins',
  description:
    'Ask a run to end, wherever its process is: the functions that run are told by their signals and ' +
    'awaited, nothing more begins, and the run fails with ECANCELED, which says who asked. The exit ' +
    'code is 4 for a run that does not go on.',
  parameters: { run: argument('<run>') },
  options: {
    flow,
    wait: flag('--wait', 'wait until it has ended'),
    by: option('--by <text>', 'who asks, for people (default: USER@HOST)'),
    json,
    ...place,
  },
  examples: ['tailrace flow cancel RUN', 'tailrace flow cancel RUN --wait --timeout 1m'],
  run: async (call) => {
    const { args, options, stdout } = call
    return withStore(call, async (store) => {
      const runs = await runsIn(store, options.flow)
      await runs.cancel(args.run, { by: options.by ?? `${userInfo().username}@${hostname()}` })
      const facts = options.wait ? await runs.ended(args.run) : undefined
      if (options.json) await stdout.json({ run: args.run, ...defined({ state: facts?.state }) })
      else if (facts) await stdout.line(facts.state)
    })
  },
})
