/** The metrics of a server, in the text of Prometheus. The only import of prom-client. See rfc/29, rules 1 to
 *  5.
 *  Invariant: nothing is measured before the first look: what is counted anyway is read then, and what takes
 *  time to measure begins then. No label has a value that a client chooses, so that the number of lines is
 *  bounded. */

import { readdir, statfs } from 'node:fs/promises'
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Usage } from '../api/upkeep.js'
import type { Environment } from '../base/environment.js'
import type { StoreFigures } from '../rights/served-store.js'
import { anonymousMemory } from './memory.js'
import type { Meters } from './meters.js'

/** The time without a look after which the delay of the event loop is no longer measured, in ms: that wakes
 *  the process 50 times a second. */
const lookedAtMs = 120_000
/** The time between two measures of the delay of the event loop, in ms. */
const loopResolutionMs = 20

/** Bounds of times, in seconds: a sync of a fast disk takes a tenth of a millisecond. */
const secondsBounds = [1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5]
/** Bounds of the numbers of transactions in a group. */
const groupBounds = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096]

type MetricsPorts = {
  readonly figures: StoreFigures
  readonly usage: () => Promise<Usage>
  readonly meters: Meters
  /** The counts that the server holds elsewhere. */
  readonly now: {
    /** Open requests and websockets. */
    readonly requests: () => number
    readonly watchers: () => number
    /** Watches that wait for their clients. */
    readonly behind: () => number
    readonly websockets: () => number
    /** Bytes that wait to be sent to websockets. */
    readonly backlog: () => number
    /** Bytes that wait to be sent to all clients, as `Backlogs` counts them. */
    readonly unread: () => number
  }
  readonly timer: Environment['timer']
  readonly version: string
  readonly directory: string
  /** The start of the server, in ms since 1970. */
  readonly started: number
}

/** A value, and the labels that it has. */
type Labelled = readonly [labels: Readonly<Record<string, string>>, value: number]
type Reading = number | readonly Labelled[]

/** The metrics of one server. */
export class Metrics implements Disposable {
  readonly #registry = new Registry()
  readonly #ports: MetricsPorts
  readonly #loop: IntervalHistogram
  readonly #listening: Disposable
  #rest: Disposable | undefined
  #usage: Promise<Usage> | undefined
  /** The text that is being made: all who ask meanwhile get it. */
  #text: Promise<string> | undefined

  constructor(ports: MetricsPorts) {
    this.#ports = ports
    this.#loop = monitorEventLoopDelay({ resolution: loopResolutionMs })
    this.#server()
    this.#listening = this.#commits()
    this.#store()
    this.#requests()
    this.#process()
  }

  /** Returns all metrics, as text. Throws what `Upkeep.usage` throws. */
  text(): Promise<string> {
    this.#text ??= this.#make().finally(() => {
      this.#text = undefined
    })
    return this.#text
  }

  [Symbol.dispose](): void {
    this.#rest?.[Symbol.dispose]()
    this.#loop.disable()
    this.#listening[Symbol.dispose]()
    this.#ports.meters.observer = undefined
  }

  async #make(): Promise<string> {
    this.#rest?.[Symbol.dispose]()
    this.#rest = this.#ports.timer(lookedAtMs, () => void this.#loop.disable())
    this.#loop.enable()
    this.#usage = this.#ports.usage()
    await this.#usage
    return this.#registry.metrics()
  }

  #server(): void {
    const { version, started, now } = this.#ports
    const build = { version, node: process.versions.node }
    this.#gauge(
      'tailrace_build_info',
      'The versions of the server and of Node.',
      () => [[build, 1]],
      ...Object.keys(build),
    )
    const start = started / 1_000
    this.#gauge('process_start_time_seconds', 'The start of the server.', () => start)
    this.#gauge('tailrace_open_requests', 'Open HTTP requests and websockets.', now.requests)
    this.#gauge('tailrace_websockets', 'Open websockets.', now.websockets)
    this.#gauge('tailrace_websocket_backlog_bytes', 'Bytes that wait to be sent.', now.backlog)
    this.#gauge(
      'tailrace_backlog_bytes',
      'Bytes that clients have not read, of all connections.',
      now.unread,
    )
    this.#gauge('tailrace_watchers', 'Open watches.', now.watchers)
    this.#gauge(
      'tailrace_watchers_behind',
      'Watches that wait for their client: it gave no credit, or does not read.',
      now.behind,
    )
  }

  #commits(): Disposable {
    const { figures } = this.#ports
    const transactions = this.#histogram('tailrace_commit_group_transactions', groupBounds, {
      help: 'Transactions in a commit group, since the first look.',
    })
    const durable = this.#histogram('tailrace_commit_durable_seconds', secondsBounds, {
      help: 'Time to make a commit group durable, with its wait for other groups.',
    })
    const sum = { blobs: 0, size: 0 }
    this.#counter('tailrace_commit_blobs_total', 'Blobs and nodes of groups.', () => sum.blobs)
    this.#counter('tailrace_commit_bytes_total', 'Bytes of blobs and nodes.', () => sum.size)
    this.#gauge(
      'tailrace_commits_waiting',
      'Transactions that wait for a group.',
      () => figures.waiting.count,
    )
    this.#gauge(
      'tailrace_commits_waiting_bytes',
      'Bytes of transactions that wait for a group.',
      () => figures.waiting.size,
    )
    return figures.onCommitted((group) => {
      transactions.observe(group.transactions)
      durable.observe(group.durableMs / 1_000)
      sum.blobs += group.blobs
      sum.size += group.size
    })
  }

  #store(): void {
    const { figures, directory } = this.#ports
    this.#gauge('tailrace_namespaces', 'Namespaces.', () => figures.namespaces)
    this.#gauge('tailrace_leases', 'Leases that are held.', () => figures.leases)
    this.#gauge(
      'tailrace_jobs',
      'Jobs, by state.',
      () => [
        [{ state: 'running' }, figures.jobs.running],
        [{ state: 'waiting' }, figures.jobs.waiting],
      ],
      'state',
    )
    this.#counter(
      'tailrace_jobs_ended_total',
      'Jobs that ended, by result.',
      () => [
        [{ result: 'succeeded' }, figures.jobs.ended.succeeded],
        [{ result: 'failed' }, figures.jobs.ended.failed],
      ],
      'result',
    )
    this.#counter(
      'tailrace_content_loads_total',
      'Blobs and nodes that were read from the disk.',
      () => figures.loads.count,
    )
    this.#counter('tailrace_content_loaded_bytes_total', 'Their bytes.', () => figures.loads.size)
    this.#gauge('tailrace_content_cache_bytes', 'Blobs in memory.', () => figures.cached)
    this.#gauge(
      'tailrace_store_bytes',
      'Size of the store, by what counts.',
      async () => {
        const { disk, stored = 0, live = 0, history = 0 } = (await this.#usage) ?? {}
        return [
          ...(disk === undefined ? [] : [[{ kind: 'disk' }, disk] as const]),
          [{ kind: 'stored' }, stored],
          [{ kind: 'live' }, live],
          [{ kind: 'history' }, history],
        ]
      },
      'kind',
    )
    this.#gauge(
      'tailrace_disk_bytes',
      'The file system of the store, by part.',
      async () => {
        const found = await statfs(directory).catch(() => undefined) // the directory may have gone
        if (!found) return []
        return [
          [{ part: 'free' }, found.bavail * found.bsize],
          [{ part: 'all' }, found.blocks * found.bsize],
        ]
      },
      'part',
    )
    this.#gauge('tailrace_writable', '1 while the store takes writes.', () =>
      figures.broken ? 0 : 1,
    )
    this.#gauge('tailrace_collecting', '1 while a collection runs.', () =>
      figures.collecting ? 1 : 0,
    )
    this.#counter(
      'tailrace_collections_total',
      'Collections that ended.',
      () => figures.freed.collections,
    )
    this.#counter(
      'tailrace_collected_bytes_total',
      'Bytes that collections freed.',
      () => figures.freed.size,
    )
  }

  #requests(): void {
    const { meters } = this.#ports
    this.#counter(
      'tailrace_requests_total',
      'Requests that were answered, by name, way and code.',
      () =>
        meters.requests.flatMap(({ name: request, way, answered, failed }) => {
          const outcomes: [string, number][] = [['ok', answered], ...failed]
          return outcomes
            .filter(([, count]) => count > 0)
            .map(([code, count]) => [{ request, way, code }, count] as const)
        }),
      ...['request', 'way', 'code'],
    )
    this.#counter(
      'tailrace_requests_refused_total',
      'Requests that were refused by their heads: no token, a wrong Host or Origin, too many.',
      () => [...meters.refused].map(([code, count]) => [{ code }, count]),
      'code',
    )
    this.#counter('tailrace_watch_events_total', 'Events to websockets.', () => meters.events)
    this.#counter('tailrace_watch_bytes_total', 'Bytes of their values.', () => meters.eventBytes)
    const took = this.#histogram('tailrace_request_seconds', secondsBounds, {
      help: 'Time from the parsed request to its answer, without reads that memory answers.',
      labelNames: ['request'],
    })
    const delay = this.#histogram('tailrace_watch_delay_seconds', secondsBounds, {
      help: 'Time from the wake of a watch until its event was given to the socket.',
    })
    meters.observer = {
      requestTook: (request, seconds) => took.observe({ request }, seconds),
      deliveryTook: (seconds) => delay.observe(seconds),
    }
  }

  #process(): void {
    this.#counter('process_cpu_seconds_total', 'Processor time, user and system.', () => {
      const { user, system } = process.cpuUsage()
      return (user + system) / 1e6
    })
    this.#gauge('process_resident_memory_bytes', 'Resident memory.', process.memoryUsage.rss)
    this.#gauge('tailrace_anonymous_memory_bytes', 'Memory that no file backs.', anonymousMemory)
    this.#gauge('process_open_fds', 'Open files.', async () => {
      const open = await readdir('/proc/self/fd').catch(() => undefined)
      return open ? open.length : []
    })
    this.#gauge(
      'tailrace_event_loop_delay_seconds',
      'Delay of the event loop.',
      () => {
        const { mean, max } = this.#loop
        // Node measures the time between two of its timers, with the time for which they are set.
        const delay = (ns: number) => Math.max(0, ns / 1e9 - loopResolutionMs / 1_000)
        const quantiles: Labelled[] = [50, 99].map((percent) => [
          { quantile: String(percent / 100) },
          delay(this.#loop.percentile(percent)),
        ])
        this.#loop.reset()
        // Nothing was measured before the first look.
        if (Number.isNaN(mean)) return []
        return [...quantiles, [{ quantile: '1' }, delay(max)]]
      },
      'quantile',
    )
  }

  #gauge(
    name: string,
    help: string,
    read: () => Reading | Promise<Reading>,
    ...labelNames: readonly string[]
  ): void {
    new Gauge({
      ...{ name, help, labelNames, registers: [this.#registry] },
      async collect() {
        this.reset()
        for (const [labels, value] of labelled(await read())) this.set(labels, value)
      },
    })
  }

  #counter(
    name: string,
    help: string,
    read: () => Reading,
    ...labelNames: readonly string[]
  ): void {
    new Counter({
      ...{ name, help, labelNames, registers: [this.#registry] },
      collect() {
        this.reset()
        for (const [labels, value] of labelled(read())) this.inc(labels, value)
      },
    })
  }

  #histogram<const Name extends string = never>(
    name: string,
    buckets: readonly number[],
    { help, labelNames = [] }: { readonly help: string; readonly labelNames?: readonly Name[] },
  ): Histogram<Name> {
    const registers = [this.#registry]
    return new Histogram({ name, help, registers, labelNames, buckets: [...buckets] })
  }
}

function labelled(reading: Reading): readonly Labelled[] {
  return typeof reading === 'number' ? [[{}, reading]] : reading
}
