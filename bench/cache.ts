/** What does the result cache cost: how many results a second do 64 claims in flight in two processes
 *  make, which go through one list; how many, if all 64 want each result at once; how long does a
 *  hit take; how long after the work has a waiter in another process the result; and what do a hit,
 *  a layer and an eviction take among 1,000,000 results?
 *
 *  Expected. Each process goes through the list with 32 claims in flight, so that an action has a claim
 *  in each. A result is two commits, the lease and the record with its release, which share their
 *  syncs with those of other actions. It is seven requests: a look, a take and a publish in one
 *  process, a look, a take that is refused, a watch and its end in the other; the looks of one turn
 *  are one request. A publish writes some 15 nodes, 40 KB: the paths to the result and to its entry
 *  in the index, the log, the lease, and the answer that is kept for a publish that is sent again.
 *  If all 64 want each action, it is as many requests, since the claims of a process share them, but
 *  two lone commits and a delivery in a row. A hit is one read of a small value, two system calls at
 *  each end. A waiter gets the record with the event: a lone delivery, 0.5–1 ms behind the commit. A
 *  hit among many is the same read in a deeper tree.
 *
 *  Redis beside it has the protocol of gokart's lock: GET, SET NX PX, GET again, SET, and a script
 *  that deletes the lock of one's own; who meets a lock tries again each 100 ms, as the lock of
 *  redis-py does. It is the same client as in all other benchmarks. */

import { join } from 'node:path'
import type { Op } from '../src/api/transaction.js'
import { packAction } from '../src/cache/action.js'
import { openCache } from '../src/cache/cache.js'
import { evict } from '../src/cache/eviction.js'
import { encodeRecord, recordKey } from '../src/cache/record.js'
import { hourOf, useOps } from '../src/cache/use-index.js'
import { connect } from '../src/client/node.js'
import { open } from '../src/open.js'
import type { Bench } from './bench.js'
import type { Row } from './figures.js'
import { median, now, percentile } from './measure.js'
import { withDirectory } from './scratch.js'
import { tailrace } from './systems/tailrace.js'
import { inTurn } from './turns.js'
import { Worker } from './worker.js'

const claimants = 64
const warmActions = 1_000
const actions = 2_000
/** Actions that all claimants want at the same time. */
const contested = 100
const hits = 2_000
const waits = 300
const size = 100

const many = 1_000_000
const few = 100
/** Results that one eviction removes. The layer to compare with has as many for each run, and as many
 *  more. */
const evictedAtOnce = 2_000
/** Hours of the last uses of the results that are made. */
const hours = 100
/** Layers that are made and removed in a run. */
const childLayers = 20
/** Results of a commit while the layer is filled, and commits in flight. */
const resultsOfCommit = 1_000
const commitsInFlight = 4

type Name = 'results' | 'contested' | 'hit' | 'hit p99' | 'wake' | 'wake p99'

export const cache: Bench = {
  question: 'what do a result, a hit and a wait of the result cache cost?',
  run: async ({ runs, scale, systems }): Promise<readonly Row[]> => {
    const able = systems.filter(({ id }) => id === 'tailrace' || id === 'redis')
    const outcomes = await inTurn<Name>(able, runs, async (system, server) => {
      await using one = await Worker.start(system, server)
      await using other = await Worker.start(system, server)
      const both = [one, other]
      const compute = async (prefix: string, count: number, { each } = { each: false }) => {
        const args = { prefix, count, inFlight: claimants / both.length, each, size }
        const done = await Promise.all(both.map((worker) => worker.run('compute', args)))
        const made = done.reduce((sum, each) => sum + each.made, 0)
        if (made !== count) throw new Error(`${made} results were made of ${count} actions`)
        const ms =
          Math.max(...done.map((each) => each.endMs)) -
          Math.min(...done.map((each) => each.startMs))
        return (count * 1_000) / ms
      }
      await compute('warm', Math.ceil(warmActions / scale))
      const results = await compute('results', Math.ceil(actions / scale))
      const wanted = await compute('wanted', Math.ceil(contested / scale), { each: true })
      const found = await one.run('hit', {
        prefix: 'results',
        count: Math.ceil(hits / scale),
        of: Math.ceil(actions / scale),
        size,
      })
      const args = { prefix: 'waits', count: Math.ceil(waits / scale), size }
      const waiting = other.begin('await', args)
      const making = one.begin('make', args)
      const [woken] = await Promise.all([waiting.result, making.result])
      return {
        results,
        contested: wanted,
        hit: percentile(found, 50),
        'hit p99': percentile(found, 99),
        wake: percentile(woken, 50),
        'wake p99': percentile(woken, 99),
      }
    })
    const row = { bench: 'cache', better: 'less', unit: 'ms' } as const
    return [
      {
        ...row,
        work: `results of ${claimants} claims in flight in two processes, which go through one list`,
        unit: 'results/s',
        better: 'more',
        figures: outcomes.figures('results'),
        gates: [{ to: 'redis', ratio: 1 }],
      },
      {
        ...row,
        work: `results of ${claimants} claimants in two processes, all of whom want each at once`,
        unit: 'results/s',
        better: 'more',
        figures: outcomes.figures('contested'),
        gates: [{ to: 'redis', ratio: 1 }],
      },
      {
        ...row,
        work: 'a hit of 100 B, p50',
        figures: outcomes.figures('hit'),
        gates: [{ to: 'redis', ratio: 1.5 }],
      },
      { ...row, work: 'a hit of 100 B, p99', figures: outcomes.figures('hit p99') },
      {
        ...row,
        work: 'from the end of the work to a waiter in another process, p50',
        figures: outcomes.figures('wake'),
        gates: [{ to: 'redis', ratio: 1 }],
      },
      {
        ...row,
        work: 'from the end of the work to a waiter in another process, p99',
        figures: outcomes.figures('wake p99'),
      },
    ]
  },
}

/** Only ours, and minutes long. */
export const manyResults: Bench = {
  question: 'what do a hit, a layer and an eviction cost among 1,000,000 results?',
  byNameOnly: true,
  run: async ({ runs, scale }): Promise<readonly Row[]> => {
    const count = Math.ceil(many / scale)
    const wanted = Math.ceil(evictedAtOnce / scale)
    const sizes = { few, some: wanted * (runs + 1), many: count }
    return withDirectory(async (directory) => {
      await fill(join(directory, 'data'), sizes)
      await using server = await tailrace.start(directory)
      await using store = await connect(server.address)
      const values: Record<keyof typeof sizes, Record<ManyName, number[]>> = {
        few: { hit: [], made: [], removed: [], evicted: [] },
        some: { hit: [], made: [], removed: [], evicted: [] },
        many: { hit: [], made: [], removed: [], evicted: [] },
      }
      for (let run = 0; run < runs; run++) {
        for (const layer of ['few', 'many'] as const) {
          const times = values[layer]
          const among = sizes[layer]
          const { layers, load } = openCache(store, { layer })
          const find = async (at: number) => {
            const found = await load({ at: (at * 7_919) % among })
            if (!found) throw new Error('a result is not there')
          }
          times.hit.push(median(await timesOf(hits / scale, find)))
          const { ref } = await store.root({ namespace: `cache-${layer}` })
          const child = (at: number) => `over-${layer}-${run}-${at}`
          const make = (at: number) => layers.create(child(at), { parent: layer })
          times.made.push(median(await timesOf(childLayers, make)))
          const remove = (at: number) => layers.remove(child(at))
          times.removed.push(median(await timesOf(childLayers, remove)))
          const { ref: after } = await store.root({ namespace: `cache-${layer}` })
          if (after !== ref) throw new Error('the parent has changed')
        }
      }
      // The oldest go, of which nothing is asked any more.
      for (let run = 0; run < runs; run++) {
        for (const layer of ['some', 'many'] as const) {
          const { layers } = openCache(store, { layer })
          const { results } = await layers.show(layer)
          await layers.configure(layer, { keepResults: results - wanted })
          const start = now()
          const evicted = await evict(store, store.leases, layer)
          values[layer].evicted.push((evicted * 1_000) / (now() - start))
          if (evicted !== wanted) throw new Error(`${evicted} results went, not ${wanted}`)
        }
      }
      const all = count.toLocaleString('en')
      const row = (
        name: ManyName,
        work: string,
        unit: string,
        { than = 'few', ratio }: { readonly than?: keyof typeof sizes; readonly ratio: number },
      ): Row => ({
        bench: 'cache-many',
        ...{ work, unit, better: unit === 'ms' ? 'less' : 'more' },
        figures: [{ system: 'tailrace', values: values.many[name] }],
        gates: [
          { label: `among ${sizes[than].toLocaleString('en')}`, values: values[than][name], ratio },
        ],
      })
      return [
        row('hit', `a hit among ${all} results, p50`, 'ms', { ratio: 2 }),
        row('made', `a layer over ${all} results is made, p50`, 'ms', { ratio: 2 }),
        row('removed', `a layer over ${all} results is removed, p50`, 'ms', { ratio: 2 }),
        row('evicted', `eviction from ${all} results`, 'results/s', { than: 'some', ratio: 0.5 }),
      ]
    })
  },
}

type ManyName = 'hit' | 'made' | 'removed' | 'evicted'

/** Calls `run` so many times, one after the other. Gives the time of each, in ms. */
async function timesOf(count: number, run: (at: number) => Promise<unknown>): Promise<number[]> {
  const times: number[] = []
  for (let at = 0; at < count; at++) {
    const start = now()
    await run(at)
    times.push(now() - start)
  }
  return times
}

/** Makes layers of results, without their claims, in the order of their ids: so a commit changes few
 *  nodes. Their last uses are spread over `hours`. */
async function fill(directory: string, sizes: { readonly [layer: string]: number }): Promise<void> {
  await using store = await open({ directory })
  const bytes = new Uint8Array(size)
  const newest = Date.now()
  for (const [layer, among] of Object.entries(sizes)) {
    await openCache(store).layers.create(layer)
    const made = Array.from({ length: among }, (_, at) => ({ at, ...packAction({ at }) }))
    made.sort((left, right) => (left.id < right.id ? -1 : 1))
    let next = 0
    const lane = async () => {
      while (next < among) {
        const start = next
        next += resultsOfCommit
        const ops = made.slice(start, next).map(({ at, id, bytes: packed }): Op[] => {
          const token = { incarnation: 'bench', seq: at }
          const used = hourOf(newest) - (at % hours)
          const record = {
            action: { size: packed.length, bytes: packed },
            outputs: { value: { size, bytes } },
            by: { host: 'bench', pid: 1 },
            ...{ started: 0, tookMs: 0, token, used },
          }
          return [
            { op: 'put', key: recordKey(id), value: encodeRecord(record) },
            ...useOps(used, [{ id, token }]),
          ]
        })
        await store.commit({ ops: ops.flat() }, { namespace: `cache-${layer}` })
      }
    }
    await Promise.all(Array.from({ length: commitsInFlight }, lane))
  }
}
