/** How long does a collection keep others waiting, and how much does it take from writers?
 *
 *  Expected: a step writes at most 4 MiB of moved blobs and 1,024 index pages (4 MiB) and syncs once: some
 *  tens of ms on a disk that syncs in one; a lone append waits for at most one step beside its own sync.
 *  The mark gives way every 4 ms. So the longest append during a collection is a step's time and 10 ms, its
 *  median at most twice that without one. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from '../src/open.js'

const keys = 200_000
const directory = await mkdtemp(join(tmpdir(), 'tailrace-bench-collect-'))
try {
  // None begins by itself: the appends without one would be measured beside it.
  const garbage = { share: 0, sizeMin: Number.MAX_SAFE_INTEGER }
  await using store = await open({ directory, garbage })
  await store.namespaces.configure('primary', { historyCount: 1, historyAgeMs: 0 })
  const fill = async (name: string) => {
    for (let at = 0; at < keys; at += 1_000) {
      const ops = Array.from({ length: 1_000 }, (_, i) => {
        const key = `${name}/${Math.floor(at / 1_000)}/${i}`
        return { op: 'put', key, value: `${key} `.repeat(40) } as const
      })
      await store.commit({ ops })
    }
  }
  await fill('kept')
  await fill('gone')
  for (let i = 0; i < 100; i++) await store.put('large', Buffer.alloc(1_000_000, `${i} `))
  await store.commit({ ops: [{ op: 'unlink', key: 'gone', recursive: true }] })

  const idle = await appends((count) => count < 500)
  const collection = store.upkeep.collect()
  const began = performance.now()
  const during = await appends(() => store.collecting)
  const { live, freed, steps, longestStepMs } = await collection
  const seconds = ((performance.now() - began) / 1_000).toFixed(1)
  console.log(`in use ${mb(live.size)} in ${live.count}, freed ${mb(freed.size)} in ${freed.count}`)
  console.log(`${seconds} s, ${steps} steps, the longest ${longestStepMs.toFixed(1)} ms`)
  console.log(`an append without: ${shown(idle)}; with a collection: ${shown(during)}`)

  async function appends(goOn: (count: number) => boolean): Promise<number[]> {
    const times: number[] = []
    do {
      const start = performance.now()
      await store.append('log', 'a line of a log')
      times.push(performance.now() - start)
    } while (goOn(times.length))
    return times
  }
} finally {
  await rm(directory, { recursive: true })
}

function mb(size: number): string {
  return `${(size / 1e6).toFixed(0)} MB`
}

function shown(times: readonly number[]): string {
  const sorted = [...times].sort((a, b) => a - b)
  const at = (share: number) => (sorted[Math.floor(share * (sorted.length - 1))] ?? 0).toFixed(2)
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms (${times.length})`
}
