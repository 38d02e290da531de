/** What do a long log and a wide directory cost: a lone append with a watcher at length 1,000,000
 *  against 100, a lone put among 1,000,000 names against 100, and the start and the memory of a
 *  server on that store?
 *
 *  Expected. An append writes the open node of its array, at most 32 entries of 34 B, and a page of
 *  1.1 kB each 32 appends: 600 B at any length. A put writes one node a level: 2 nodes and 2.6 kB
 *  among 100 names, 5 nodes and 9.4 kB among 1,000,000, 200 µs more of hashing and encoding, and
 *  reads the nodes that are in nobody's memory. Both share one write and one fdatasync. A start
 *  reads what the last commits left, nothing that grows; memory at rest is Node's and the caches'.
 *
 *  The store is made embedded, which takes half of the time. Then long and short are measured in
 *  turn on one server. Only ours: the systems beside it number their
 *  records, and do not grow. */

import { join } from 'node:path'
import type { Store } from '../src/api/store.js'
import type { Op } from '../src/api/transaction.js'
import { MemoryPeak } from '../src/cli/measure.js'
import { connect } from '../src/client/node.js'
import { open } from '../src/open.js'
import type { Bench } from './bench.js'
import type { Row } from './figures.js'
import { median, now } from './measure.js'
import { makeRecord } from './record.js'
import { withDirectory } from './scratch.js'
import type { Started } from './systems/system.js'
import { tailrace } from './systems/tailrace.js'

const many = 1_000_000
const few = 100
/** Appends and as many puts of a commit while the store is made, and commits in flight. */
const pairsOfCommit = 1_000
const commitsInFlight = 4
const steps = 200
const size = 100

type Sizes = 'few' | 'many'
type Times = Readonly<Record<Sizes, number[]>>

export const growth: Bench = {
  question: 'what do a long log and a wide directory cost an append, a put and a start?',
  run: async ({ runs, scale }): Promise<readonly Row[]> => {
    const count = Math.ceil(many / scale)
    return withDirectory(async (directory) => {
      const appends: Times = { few: [], many: [] }
      const puts: Times = { few: [], many: [] }
      {
        await using embedded = await open({ directory: join(directory, 'data') })
        await grow(embedded, 'few', few)
        await grow(embedded, 'many', count)
      }
      {
        await using server = await tailrace.start(directory)
        await using store = await connect(server.address)
        for (let run = 0; run < runs; run++) {
          for (const sizes of ['few', 'many'] as const) {
            const among = sizes === 'few' ? few : count
            appends[sizes].push(await watched(server, store, sizes))
            const put = (at: number) =>
              store.put(nameOf(sizes, (at * 7_919) % among), makeRecord(at + run * steps, size))
            puts[sizes].push(await lone(steps, put))
          }
        }
      }
      const starts: number[] = []
      const memory: number[] = []
      for (let run = 0; run < runs; run++) {
        const started = now()
        await using server = await tailrace.start(directory)
        await using store = await connect(server.address)
        await store.get(nameOf('few', 0))
        starts.push(now() - started)
        memory.push((new MemoryPeak(server.pid ?? 0).end() ?? Number.NaN) / 1e6)
      }
      return rowsOf(count, { appends, puts, starts, memory })
    })
  },
}

function rowsOf(
  count: number,
  measured: {
    readonly appends: Times
    readonly puts: Times
    readonly starts: readonly number[]
    readonly memory: readonly number[]
  },
): readonly Row[] {
  const shown = count.toLocaleString('en')
  const row = { bench: 'growth', unit: 'ms', better: 'less' } as const
  const ours = (values: readonly number[]) => [{ system: 'tailrace', values }] as const
  const gate = (values: readonly number[], ratio: number) => [{ label: `at ${few}`, values, ratio }]
  const { appends, puts, starts, memory } = measured
  return [
    {
      ...row,
      work: `a lone append with a watcher, at length ${shown}, p50`,
      figures: ours(appends.many),
      gates: gate(appends.few, 1.5),
    },
    {
      ...row,
      work: `a lone put among ${shown} names, p50`,
      figures: ours(puts.many),
      gates: gate(puts.few, 4),
    },
    {
      ...row,
      work: `from the start of the server on ${shown} appends and names to its first answer`,
      figures: ours(starts),
    },
    {
      ...row,
      work: 'memory of that server after it',
      unit: 'MB',
      figures: ours(memory),
      gates: [{ bound: 80 }],
    },
  ]
}

/** Appends to a log and puts into a directory, as many of both, in commits of many. */
async function grow(store: Store, sizes: Sizes, count: number): Promise<void> {
  let next = 0
  const lane = async () => {
    while (next < count) {
      const start = next
      next += pairsOfCommit
      const ops: Op[] = []
      for (let at = start; at < Math.min(next, count); at++) {
        const value = makeRecord(at, size)
        ops.push({ op: 'append', key: logOf(sizes), value })
        ops.push({ op: 'put', key: nameOf(sizes, at), value })
      }
      await store.commit({ ops })
    }
  }
  await Promise.all(Array.from({ length: commitsInFlight }, lane))
}

/** Gives the median time of lone operations, in ms. */
async function lone(count: number, step: (at: number) => Promise<unknown>): Promise<number> {
  const times: number[] = []
  for (let at = 0; at < count; at++) {
    const start = now()
    await step(at)
    times.push(now() - start)
  }
  return median(times)
}

/** Gives the median time of lone appends until a watcher on a connection of its own has them. */
async function watched(server: Started, store: Store, sizes: Sizes): Promise<number> {
  await using watcher = await connect(server.address)
  const key = logOf(sizes)
  const events = watcher.watch(key, { mode: 'append', from: -1 })
  const next = async () => {
    for (;;) {
      const { value, done } = await events.next()
      if (done || value.type === 'append') return
    }
  }
  await next()
  const time = await lone(steps, async (at) => {
    const arrived = next()
    await store.append(key, makeRecord(at, size, now()))
    await arrived
  })
  await events.return?.()
  return time
}

function logOf(sizes: Sizes): string {
  return `logs/${sizes}`
}

/** Names that lie behind each other, so that a commit of many edits few nodes. */
function nameOf(sizes: Sizes, at: number): string {
  return `names/${sizes}/${String(at).padStart(7, '0')}`
}
