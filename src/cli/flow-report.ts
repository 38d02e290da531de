/** `tailrace flow report`: a run as one page of HTML. See rfc/26, rule 14. */

import { writeFile } from 'node:fs/promises'
import type { RunStatus } from '../api/flow-look.js'
import type { Store } from '../api/store.js'
import { hasSystemCode, TailraceError } from '../error.js'
import { argument, command, file, option, UsageError } from './command.js'
import { flow } from './flow-options.js'
import { noRuns, runsIn } from './flow-runs.js'
import { json, place } from './options.js'
import { CallGatherer, callsMax } from './report-calls.js'
import type { ReportNode, RunReport } from './report-page.js'
import { withStore } from './session.js'
import { absolutePath } from './utf8.js'

/** The largest number of targets, and of their inputs, of a graph that is drawn. */
const [drawnMax, drawnInputsMax] = [5_000, 20_000]

export const report = command({
  name: 'report',
  summary: 'write a run as one page of HTML: states, timeline, graph, longest path',
  description:
    'Write a page of HTML about a run, by default the newest: its counts, failures, the timeline of ' +
    'its calls, the graph with the longest path of what was made, and all targets with their times. ' +
    'The page needs no other file and no network.',
  parameters: { run: argument('[run]') },
  options: {
    flow,
    html: option('--html <file>', 'the file to write; one that is there is replaced', file),
    json,
    ...place,
  },
  examples: ['tailrace flow report --html run.html', 'tailrace flow report RUN --html run.html'],
  run: async (call) => {
    const { options, stdout } = call
    const { html } = options
    if (html === undefined) throw new UsageError('report takes --html FILE')
    return withStore(call, async (store) => {
      const runs = await runsIn(store, options.flow)
      const [run] = call.args.run === undefined ? await runs.newest(1) : [call.args.run]
      if (run === undefined) throw noRuns(options.flow)
      const { reportPage } = await import('./report-page.js')
      const page = reportPage(await reportOf(store, options.flow, await runs.status(run)))
      await writeFile(absolutePath(html), page).catch((error: unknown) => {
        if (!hasSystemCode(error, 'ENOENT')) throw error
        throw new TailraceError('ENOENT', `there is no directory for ${html}`)
      })
      if (options.json) await stdout.json({ run, html, size: Buffer.byteLength(page) })
    })
  },
})

async function reportOf(
  store: Store,
  flow: string | undefined,
  { targets = [], ...status }: RunStatus,
): Promise<RunReport> {
  const { logOf } = await import('../flow/runs.js')
  const { readEvents } = await import('../eventlog/eventlog.js')
  const { key, ...scope } = logOf(flow, status.run)
  const gatherer = new CallGatherer()
  for await (const event of readEvents(store, key, scope)) gatherer.take(event)
  const inputs = targets.reduce((sum, { sources }) => sum + sources.length, 0)
  const isDrawn = targets.length <= drawnMax && inputs <= drawnInputsMax
  const nodes = isDrawn ? await nodesOf(targets, gatherer.ms) : []
  const notes = [
    ...(status.graph === undefined ? ['The graph of this run is not kept.'] : []),
    ...(isDrawn ? [] : [`The graph has ${targets.length} targets, too many to be drawn.`]),
    ...(gatherer.isCut ? [`The timeline has the first ${callsMax} calls.`] : []),
  ]
  return { status, calls: gatherer.calls, nodes, path: longestPath(nodes), notes }
}

async function nodesOf(
  targets: NonNullable<RunStatus['targets']>,
  times: ReadonlyMap<string, number>,
): Promise<readonly ReportNode[]> {
  const { layout } = await import('./graph-layout.js')
  const places = layout(targets)
  return targets.map(({ target, state, sources }, at) => {
    const ms = times.get(target)
    const { x = 0, y = 0 } = places[at] ?? {}
    return { name: target, state, sources, x, y, ...(ms !== undefined && { ms }) }
  })
}

/** Returns the places of the longest path by the times that targets took, from its begin on. */
export function longestPath(nodes: readonly ReportNode[]): readonly number[] {
  const lengths = new Float64Array(nodes.length)
  const before = new Int32Array(nodes.length).fill(-1)
  let last = -1
  for (const [place, { sources, ms = 0 }] of nodes.entries()) {
    for (const source of sources) {
      if ((lengths[source] ?? 0) <= (lengths[place] ?? 0)) continue
      lengths[place] = lengths[source] ?? 0
      before[place] = source
    }
    lengths[place] = (lengths[place] ?? 0) + ms
    if (ms > 0 && (last < 0 || (lengths[place] ?? 0) > (lengths[last] ?? 0))) last = place
  }
  const path: number[] = []
  for (let at = last; at >= 0; at = before[at] ?? -1) path.unshift(at)
  return path
}
