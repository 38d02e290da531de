/** `tailrace flow status`: how far a run is, once or until it ends. See rfc/26, rule 10.
 *  Invariant: a view on a terminal is drawn when the run's log has grown, once in `drawMs` at most; what
 *  is left to draw is drawn when that time has passed. Elsewhere a line stands as it was written. */

import type { RunStatus } from '../api/flow-look.js'
import { argument, command, flag } from './command.js'
import { flow } from './flow-options.js'
import { msText } from './flow-progress.js'
import { noRuns, runsIn, stateColors } from './flow-runs.js'
import { json, place, utc } from './options.js'
import type { Line, Output } from './output.js'
import { followStore, type PlaceCall, withStore } from './session.js'
import { timeText } from './units.js'
import { View } from './view.js'

/** The most targets of a kind that a view has a line for. */
const shownMax = 10
/** The most names of a path in a view. */
const pathShown = 6

export const status = command({
  name: 'status',
  summary: 'show how far a run is: percent, time left, what runs, what failed',
  description:
    'Show how far a run is, by default the newest: its state, the share of the expected work that is ' +
    'done and the time that is left, by what its targets took last, the longest path of what is ' +
    'left, what runs and since when, and what failed. --follow goes on until the run ends; a ' +
    'terminal shows a view that is drawn again, a pipe gets a line for each change.',
  parameters: { run: argument('[run]') },
  options: {
    flow,
    follow: flag('--follow', 'go on with each change, until the run ends'),
    targets: flag('--targets', 'a line for each target, with its state', {
      excludes: ['follow', 'json'],
    }),
    utc,
    json,
    ...place,
  },
  examples: ['tailrace flow status', 'tailrace flow status RUN --follow'],
  run: async (call) => {
    const { options, stdout } = call
    const within = options.follow ? followStore : withStore
    return within(call, async (store) => {
      const runs = await runsIn(store, options.flow)
      const [run] = call.args.run === undefined ? await runs.newest(1) : [call.args.run]
      if (run === undefined) throw noRuns(options.flow)
      if (options.follow) return follow(call, runs.follow(run))
      const status = await runs.status(run)
      if (options.json) return stdout.json(status)
      await stdout.lines(linesOf(status, options))
      if (options.targets) {
        await stdout.lines((status.targets ?? []).map(({ target, state }) => `${state}  ${target}`))
      }
    })
  },
})

type StatusCall = PlaceCall & {
  readonly options: { readonly json: boolean; readonly utc: boolean }
}

async function follow(call: StatusCall, states: AsyncIterable<RunStatus>): Promise<void> {
  const { stdout, options } = call
  if (options.json) {
    for await (const status of states) await stdout.json(status)
  } else if (stdout.canRedraw) {
    await using view = new View(stdout)
    for await (const status of states) await view.show(() => linesOf(status, options))
  } else await followLines(stdout, states, options)
}

/** Writes a line for each change, and the whole state at the end. */
async function followLines(
  stdout: Output,
  states: AsyncIterable<RunStatus>,
  options: { readonly utc: boolean },
): Promise<void> {
  let before = ''
  let last: RunStatus | undefined
  for await (const status of states) {
    last = status
    const text = `${progressText(status)}${countsText(status)}`
    if (text !== before) await stdout.line(text)
    before = text
  }
  if (last) await stdout.lines(linesOf(last, options))
}

/** Returns the lines of a state. */
function linesOf(status: RunStatus, options: { readonly utc: boolean }): readonly Line[] {
  const { run, state, at, ms, runs, failures, path, failed, counts, predictedMs } = status
  const now = at + ms
  const targets = status.origin ? `  ${status.origin.file} ${status.origin.targets.join(' ')}` : ''
  const goesOn = state === 'running'
  return [
    [
      `${run}  `,
      { color: stateColors[state], text: state },
      `  ${timeText(at, options)}  ${msText(ms)}${targets.trimEnd()}`,
    ],
    `${progressText(status)}${countsText(status)}`,
    ...(predictedMs === undefined ? [] : [predictedText(ms, predictedMs)]),
    ...(goesOn && path.length > 0 ? [`longest path: ${pathText(path)}`] : []),
    ...[...runs].slice(0, shownMax).map(({ target, since }): Line => {
      return [{ color: 'blue', text: 'runs  ' }, `  ${target}  ${msText(now - since)}`]
    }),
    ...moreLine(counts.running, 'run'),
    ...failures
      .slice(0, shownMax)
      .flatMap(({ target, message, output = '' }): readonly Line[] => [
        [{ color: 'red', text: 'failed' }, `  ${target}  ${firstLine(message)}`],
        ...output.split('\n').flatMap((line) => (line === '' ? [] : [`        | ${line}`])),
      ]),
    ...moreLine(counts.failed, 'failed'),
    ...(failed !== undefined && failures.length === 0 ? [firstLine(failed)] : []),
  ]
}

/** Says how far off the prediction was. */
function predictedText(ms: number, predictedMs: number): string {
  const off = Math.round((ms / Math.max(1, predictedMs) - 1) * 100)
  return `predicted ${msText(predictedMs)}, took ${msText(ms)} (${off < 0 ? '' : '+'}${off} %)`
}

function moreLine(count: number, what: string): readonly string[] {
  return count > shownMax ? [`and ${count - shownMax} more that ${what}`] : []
}

function progressText({ percent, leftMs, state }: RunStatus): string {
  const part = percent === undefined ? '' : `${String(percent).padStart(3)} %  `
  const left = state === 'running' && leftMs !== undefined ? `about ${msText(leftMs)} left  ` : ''
  return part + left
}

function countsText({ counts, state }: RunStatus): string {
  const names = ['made', 'found', 'failed', 'skipped', 'running', 'waiting'] as const
  const told = state === 'running' ? names : names.filter((name) => counts[name] > 0)
  return told.map((name) => `${counts[name]} ${name}`).join(', ')
}

function pathText(path: readonly string[]): string {
  const more = path.length > pathShown ? ` → … (${path.length})` : ''
  return path.slice(0, pathShown).join(' → ') + more
}

function firstLine(text: string): string {
  return text.split('\n')[0] ?? ''
}
