/** How long does a collection keep others waiting, and how much does it take from writers?
 *
 *  Expected. What a collection drops shares the records of the appends (40 bytes a ref, some tens of
 *  refs), and its work on the processor, half of a record's time, runs while the disk has a record.
 *  Its own syncs are one for 64 steps and those of the tables. So the median append is at most twice
 *  that without a collection; the longest one meets the discard of a removed segment, or a flush of
 *  the tables: some tens of ms on a disk that syncs in one. Embedded: no socket beside
 *  the disk. Collections are of ours alone. */

import { open } from '../src/open.js'
import type { Bench } from './bench.js'
import type { Row } from './figures.js'
import { now, percentile } from './measure.js'
import { makeRecord } from './record.js'
import { withDirectory } from './scratch.js'

const names = 100_000
const namesOfCommit = 1_000
const idleAppends = 500
const size = 100

/** The times of appends without a collection and beside one, in ms, and the time of all of it. */
type Collection = {
  readonly idle: readonly number[]
  readonly during: readonly number[]
  readonly freed: number
  readonly ms: number
}

export const collect: Bench = {
  question: 'how long does a collection keep appends waiting?',
  run: async ({ runs, scale }): Promise<readonly Row[]> => {
    const all: Collection[] = []
    for (let run = 0; run < runs; run++) all.push(await collection(Math.ceil(names / scale)))
    const row = { bench: 'collect', unit: 'ms', better: 'less' } as const
    const ours = (of: (each: Collection) => number) =>
      [{ system: 'tailrace', values: all.map(of) }] as const
    const idle = all.map((each) => percentile(each.idle, 50))
    return [
      {
        ...row,
        work: 'a lone append, embedded, beside a collection, p50',
        figures: ours((each) => percentile(each.during, 50)),
        gates: [{ label: 'without', values: idle, ratio: 2 }],
      },
      {
        ...row,
        work: 'the longest append, embedded, beside a collection',
        figures: ours((each) => Math.max(...each.during)),
        gates: [{ bound: 50 }],
      },
      {
        ...row,
        work: 'what a collection frees',
        unit: 'MB/s',
        better: 'more',
        figures: ours((each) => each.freed / 1_000 / each.ms),
      },
    ]
  },
}

/** Makes a store of which half is garbage, and collects it while somebody appends. */
function collection(count: number): Promise<Collection> {
  return withDirectory(async (directory) => {
    // None begins by itself: the appends without one would be measured beside it.
    const garbage = { share: 0, sizeMin: Number.MAX_SAFE_INTEGER }
    await using store = await open({ directory, garbage })
    await store.namespaces.configure('primary', { historyCount: 1, historyAgeMs: 0 })
    for (const name of ['kept', 'gone']) {
      for (let at = 0; at < count; at += namesOfCommit) {
        const ops = Array.from({ length: Math.min(namesOfCommit, count - at) }, (_, i) => {
          const key = `${name}/${Math.floor(at / namesOfCommit)}/${i}`
          return { op: 'put', key, value: `${key} `.repeat(40) } as const
        })
        await store.commit({ ops })
      }
    }
    await store.commit({ ops: [{ op: 'unlink', key: 'gone', recursive: true }] })

    const appends = async (goOn: (count: number) => boolean): Promise<number[]> => {
      const times: number[] = []
      do {
        const start = now()
        await store.append('log', makeRecord(times.length, size))
        times.push(now() - start)
      } while (goOn(times.length))
      return times
    }
    const idle = await appends((done) => done < idleAppends)
    const began = now()
    const collecting = store.upkeep.collect()
    const during = await appends(() => store.collecting)
    const { freed } = await collecting
    return { idle, during, freed: freed.size, ms: now() - began }
  })
}
