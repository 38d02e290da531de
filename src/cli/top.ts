/** `tailrace top` and `tailrace metrics`: what a server does now, for people, and for other programs. See
 *  rfc/29, rules 1 and 13.
 *  Invariant: a look is one request; no second one is asked before the first was answered. */

import { pause } from '../base/timer.js'
import { findServer, urlOf } from '../local/local.js'
import { type CommandContext, command, flag, type OptionValues, option } from './command.js'
import { MetricsChange, MetricsText } from './metrics-text.js'
import { json, place } from './options.js'
import type { Line } from './output.js'
import { noAnswer } from './report.js'
import { answerMs, requestText } from './server-request.js'
import { dataDirectory, namedServer, type ServerAddress, TimeLimit } from './session.js'
import { duration, integer, sizeText } from './units.js'
import { View } from './view.js'

const intervalMsDefault = 1_000
/** The shortest time between two looks, in ms. */
const intervalMsMin = 100
/** The largest number of requests that are shown by name. */
const namesMax = 5

const interval = option('--interval <time>', 'the time between looks: 1s (default), 250ms, 1m', {
  parse: (text, what, literal) => Math.max(intervalMsMin, duration.parse(text, what, literal)),
})

type PlaceOptions = { readonly options: OptionValues<typeof place> }

/** Returns the server of the command line. Undefined where none runs on the data directory. */
async function serverOf(call: CommandContext & PlaceOptions): Promise<ServerAddress | undefined> {
  const named = await namedServer(call)
  if (named) return named
  const record = await findServer(dataDirectory(call.options.data, call.environment))
  return record && { url: urlOf(record) }
}

async function sayNoServer(call: CommandContext & PlaceOptions): Promise<number> {
  const directory = dataDirectory(call.options.data, call.environment)
  await call.stderr.line(`no server runs on ${directory}; tailrace serve starts one`)
  return noAnswer
}

export const metrics = command({
  name: 'metrics',
  summary: 'print the metrics of the server, as Prometheus reads them (starts none)',
  options: place,
  examples: ['tailrace metrics', 'tailrace metrics | grep watchers'],
  run: async (call) => {
    const server = await serverOf(call)
    if (!server) return sayNoServer(call)
    const limit = new TimeLimit(call.options.timeout)
    const timeoutMs = limit.ms ?? answerMs
    await call.stdout.write(await limit.bound(() => requestText(server, '/metrics', { timeoutMs })))
    return 0
  },
})

export const top = command({
  name: 'top',
  summary: 'show what the server does: rates, times, watchers, jobs, space (starts none)',
  description:
    'Show what the server does: rates, times, watchers, jobs, space. It looks once in a second, on a terminal ' +
    'until it is interrupted; elsewhere it prints a block for each look. Times are upper bounds of classes.',
  options: {
    interval,
    count: option('-n, --count <n>', 'end after so many looks', integer(1)),
    once: flag('--once', 'the same as --count 1', { excludes: ['count'] }),
    json,
    ...place,
  },
  examples: ['tailrace top', 'tailrace top --once', 'tailrace top --interval 5s --json'],
  run: async (call) => {
    const { options, stdout } = call
    const server = await serverOf(call)
    if (!server) return sayNoServer(call)
    const { interval: intervalMs = intervalMsDefault, timeout } = options
    const limit = new TimeLimit(timeout)
    const timeoutMs = limit.ms ?? answerMs
    const look = async () => {
      return new MetricsText(
        await requestText(server, '/metrics', { timeoutMs }),
        performance.now(),
      )
    }
    return limit.bound(async () => {
      await using view = new View(stdout)
      const count = options.once ? 1 : (options.count ?? Number.POSITIVE_INFINITY)
      let before = await look()
      for (let shown = 0; shown < count; shown++) {
        await stdout.whileRead(pause(intervalMs))
        const change = new MetricsChange(before, await look())
        before = change.now
        if (options.json) await stdout.json(figuresOf(change))
        else if (stdout.canRedraw) await view.show(() => linesOf(figuresOf(change), server.url))
        else await stdout.lines([...linesOf(figuresOf(change), server.url), ''])
      }
      return 0
    })
  },
})

/** The figures of one look; rates are per second, times in ms, sizes in bytes. */
type Figures = ReturnType<typeof figuresOf>

function figuresOf(change: MetricsChange) {
  const { now } = change
  const rate = (name: string) => change.perSecond((look) => look.value(name))
  const answered = (matches: (labels: ReadonlyMap<string, string>) => boolean) =>
    change.perSecond((look) => look.sum('tailrace_requests_total', matches))
  const names = new Set(
    [...now.labelled('tailrace_requests_total')].map(({ labels }) => labels.get('request') ?? ''),
  )
  const requests = [...names]
    .map((name) => ({ name, rate: rounded(answered((labels) => labels.get('request') === name)) }))
    .filter((request) => request.rate > 0)
    .sort((a, b) => b.rate - a.rate)
  const [build] = now.labelled('tailrace_build_info')
  return {
    version: build?.labels.get('version') ?? '',
    upMs: Math.round(Date.now() - now.value('process_start_time_seconds') * 1_000),
    cpu: Math.round(rate('process_cpu_seconds_total') * 1_000) / 1_000,
    memory: now.value('tailrace_anonymous_memory_bytes'),
    loopDelayMs: ms(now.value('tailrace_event_loop_delay_seconds{quantile="0.99"}')),
    requests: {
      rate: rounded(answered(() => true)),
      errors: rounded(answered((labels) => labels.get('code') !== 'ok')),
      refused: rounded(change.perSecond((look) => look.sum('tailrace_requests_refused_total'))),
      byName: requests,
      p99Ms: undefinedOr(change.quantile('tailrace_request_seconds', 0.99)),
    },
    commits: {
      transactions: rounded(rate('tailrace_commit_group_transactions_sum')),
      groups: rounded(rate('tailrace_commit_group_transactions_count')),
      bytes: Math.round(rate('tailrace_commit_bytes_total')),
      meanMs: undefinedOr(change.mean('tailrace_commit_durable_seconds')),
      p99Ms: undefinedOr(change.quantile('tailrace_commit_durable_seconds', 0.99)),
      waiting: now.value('tailrace_commits_waiting'),
    },
    watches: {
      open: now.value('tailrace_watchers'),
      behind: now.value('tailrace_watchers_behind'),
      events: rounded(rate('tailrace_watch_events_total')),
      bytes: Math.round(rate('tailrace_watch_bytes_total')),
      p99Ms: undefinedOr(change.quantile('tailrace_watch_delay_seconds', 0.99)),
      websockets: now.value('tailrace_websockets'),
      backlog: now.value('tailrace_websocket_backlog_bytes'),
    },
    jobs: {
      running: now.value('tailrace_jobs{state="running"}'),
      waiting: now.value('tailrace_jobs{state="waiting"}'),
      ended: rounded(change.perSecond((look) => look.sum('tailrace_jobs_ended_total'))),
    },
    leases: now.value('tailrace_leases'),
    namespaces: now.value('tailrace_namespaces'),
    store: {
      disk: now.value('tailrace_store_bytes{kind="disk"}'),
      live: now.value('tailrace_store_bytes{kind="live"}'),
      history: now.value('tailrace_store_bytes{kind="history"}'),
      free: now.value('tailrace_disk_bytes{part="free"}'),
      size: now.value('tailrace_disk_bytes{part="all"}'),
      collecting: now.value('tailrace_collecting') === 1,
      writable: now.value('tailrace_writable') === 1,
    },
  }
}

/** Returns the lines for people. */
function linesOf(figures: Figures, url: string): readonly Line[] {
  const { requests, commits, watches, jobs, store } = figures
  const share =
    store.size > 0 ? ` (${Math.round((100 * store.free) / store.size)} % of the disk)` : ''
  const names = requests.byName.slice(0, namesMax).map(({ name, rate }) => `${name} ${rate}`)
  return [
    `${title('server')}${url}  ${figures.version}  up ${upText(figures.upMs)}`,
    `${title('process')}cpu ${Math.round(figures.cpu * 100)} %  memory ${sizeText(figures.memory)}  event loop p99 ${figures.loopDelayMs}ms`,
    `${title('requests')}${requests.rate}/s  p99 ${timeOf(requests.p99Ms)}  errors ${requests.errors}/s  refused ${requests.refused}/s`,
    `${title('')}${names.join('  ') || 'none'}`,
    `${title('commits')}${commits.transactions}/s in ${commits.groups} groups/s  ${sizeText(commits.bytes)}/s  durable ${timeOf(commits.meanMs)}, p99 ${timeOf(commits.p99Ms)}  waiting ${commits.waiting}`,
    `${title('watches')}${watches.open} open, ${watches.behind} behind  ${watches.events} events/s  ${sizeText(watches.bytes)}/s  delay p99 ${timeOf(watches.p99Ms)}`,
    `${title('websockets')}${watches.websockets}  backlog ${sizeText(watches.backlog)}`,
    `${title('jobs')}${jobs.running} running, ${jobs.waiting} waiting  ${jobs.ended} ended/s  leases ${figures.leases}  namespaces ${figures.namespaces}`,
    `${title('store')}disk ${sizeText(store.disk)}  live ${sizeText(store.live)}  history ${sizeText(store.history)}  free ${sizeText(store.free)}${share}${store.collecting ? '  collecting' : ''}`,
    ...(store.writable
      ? []
      : [[{ color: 'red', text: 'the store takes no writes: see the log' } as const]]),
  ]
}

/** The width of the first column. */
const titleWidth = 12

function title(text: string): string {
  return text.padEnd(titleWidth)
}

/** Returns a number with one digit behind the point if it is below 100. */
function rounded(value: number): number {
  return value < 100 ? Math.round(value * 10) / 10 : Math.round(value)
}

function ms(seconds: number): number {
  return rounded(seconds * 1_000)
}

function undefinedOr(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : Math.round(seconds * 100_000) / 100
}

function timeOf(time: number | undefined): string {
  if (time === undefined) return '-'
  return Number.isFinite(time) ? `${time}ms` : 'above 5s'
}

function upText(time: number): string {
  const minutes = Math.floor(time / 60_000)
  if (minutes < 60) return `${minutes}m`
  const hours = Math.floor(minutes / 60)
  return hours < 48 ? `${hours}h${minutes % 60}m` : `${Math.floor(hours / 24)}d`
}
