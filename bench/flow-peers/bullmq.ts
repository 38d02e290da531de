/** BullMQ on Redis: worker processes that take jobs from a queue. Its flows are trees, in which a child has
 *  one parent, so that they have none of these graphs but W10k and the chain. A driver adds the jobs
 *  that are ready, all of one turn of the event loop together, in each graph; it hears of results by
 *  the events of the queue. Numbers go with a job; an array is read from the job that gave it, once by
 *  each process.
 *
 *  Each job that is added, begun or ended is a script of Redis, whose writes are synced before its answer:
 *  jobs and results survive a crash, what the driver knows of the graph does not. */

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { deferred } from '../../src/base/deferred.js'
import { bundleProgram } from '../bundle.js'
import type { FlowGraph, GraphNode, Value } from '../flow-graphs.js'
import { fetchedPackage, found, peersDirectory } from '../systems/fetched.js'
import { redis } from '../systems/redis.js'
import { type FlowPeer, inTime, type MadeGraph } from './flow-peer.js'
import { ReadyNodes } from './ready-nodes.js'

export const queueName = 'flow'
/** The events that the queue keeps: more than there are of one graph, so that none is trimmed unread. */
const eventsMax = 1_000_000

/** An input: a number, or the id of the job whose result is an array. */
export type JobInput = number | { readonly job: string }
export type JobData = Omit<GraphNode, 'sources'> & { readonly inputs: readonly JobInput[] }

type Job = {
  readonly name: string
  readonly data: JobData
  readonly opts: { readonly jobId: string }
}
type Queue = { addBulk(jobs: readonly Job[]): Promise<unknown>; close(): Promise<void> }
type QueueEvents = {
  waitUntilReady(): Promise<unknown>
  close(): Promise<void>
  on(
    event: 'completed' | 'failed',
    hear: (told: { jobId: string; returnvalue?: unknown; failedReason?: string }) => void,
  ): void
  removeAllListeners(event: 'completed' | 'failed'): void
}
type BullMq = {
  readonly Queue: new (name: string, options: object) => Queue
  readonly QueueEvents: new (name: string, options: object) => QueueEvents
}

export const bullmq: FlowPeer = {
  id: 'bullmq',
  title: 'BullMQ',
  durability:
    'on Redis, append-only file, fsync always; worker processes; a driver of ours adds jobs that are ready',
  keeps: true,
  found: () => {
    const server = redis.found()
    return 'missing' in server
      ? { missing: `Redis is missing: ${server.missing}` }
      : found('bullmq')
  },

  with: async ({ directory, processes, slots }, use) => {
    const { Queue, QueueEvents } = (await fetchedPackage('bullmq')) as BullMq
    await using server = await redis.start(directory)
    await using workers = new WorkerProcesses(await bundleProgram('flow-peers/bullmq-worker'), {
      args: [server.address, String(slots)],
      count: processes,
    })
    await workers.ready()
    const connection = { path: server.address }
    const queue = new Queue(queueName, { connection, streams: { events: { maxLen: eventsMax } } })
    const events = new QueueEvents(queueName, { connection, lastEventId: '0' })
    try {
      await events.waitUntilReady()
      let graphs = 0
      return await use((graph) => {
        const prefix = `g${++graphs}-`
        return inTime(Promise.race([made(graph, { queue, events, prefix }), workers.ended]))
      })
    } finally {
      await Promise.allSettled([events.close(), queue.close()])
    }
  },
}

/** `prefix`: that of the ids of jobs, which are those of no other graph. */
async function made(
  graph: FlowGraph,
  {
    queue,
    events,
    prefix,
  }: { readonly queue: Queue; readonly events: QueueEvents; readonly prefix: string },
): Promise<MadeGraph> {
  const nodes = new ReadyNodes(graph)
  const all = deferred<void>()
  const ready: number[] = []
  const jobOf = (at: number): Job => {
    const { sources = [], work = 'sum', argument = 0 } = graph[at] ?? {}
    const values = nodes.inputsOf(at)
    const inputs = sources.map((source, slot): JobInput => {
      const value = values[slot]
      return typeof value === 'number' ? value : { job: prefix + source }
    })
    return { name: 'node', data: { work, argument, inputs }, opts: { jobId: prefix + at } }
  }
  const add = () => queue.addBulk(ready.splice(0).map(jobOf)).catch(all.reject)
  const begin = (more: readonly number[]) => {
    if (more.length > 0 && ready.length === 0) setImmediate(add)
    for (const at of more) ready.push(at)
  }
  events.on('completed', ({ jobId, returnvalue }) => {
    begin(nodes.end(Number(jobId.slice(prefix.length)), returnvalue as Value))
    if (nodes.areMade) all.resolve()
  })
  events.on('failed', ({ jobId, failedReason }) => {
    all.reject(new Error(`job ${jobId} failed: ${failedReason}`))
  })
  try {
    const began = performance.now()
    begin(nodes.first)
    await all.promise
    return { ms: performance.now() - began, results: nodes.results }
  } finally {
    events.removeAllListeners('completed')
    events.removeAllListeners('failed')
  }
}

/** Processes that are killed at the end of their use, and that end with this one. */
class WorkerProcesses implements AsyncDisposable {
  /** Rejects when one of them ends. */
  readonly ended: Promise<never>
  readonly #children: readonly ChildProcess[]

  constructor(
    file: string,
    { args, count }: { readonly args: readonly string[]; readonly count: number },
  ) {
    this.#children = Array.from({ length: count }, () =>
      fork(file, args, {
        execArgv: [],
        env: { ...process.env, TAILRACE_BENCH_PEERS: peersDirectory },
      }),
    )
    const end = async (child: ChildProcess): Promise<never> => {
      await once(child, 'exit')
      throw new Error('a worker process ended')
    }
    this.ended = Promise.race(this.#children.map(end))
    this.ended.catch(() => {}) // it ends after its use, too
  }

  /** Resolves when each of them has said that it is ready. */
  async ready(): Promise<void> {
    const each = this.#children.map((child) => once(child, 'message'))
    await Promise.race([Promise.all(each), this.ended])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const running = this.#children.filter((child) => child.exitCode === null && !child.signalCode)
    const exits = running.map((child) => once(child, 'exit'))
    for (const child of running) child.kill('SIGKILL')
    await Promise.all(exits)
  }
}
