/** How many durable transactions a second does the embedded store take, and how long does a lone one take?
 *
 *  Sketch: a lone append is one LMDB commit (two fdatasync-like waits, 0.2–0.35 ms on the machine of
 *  FACTS). With 64 in flight a group shares that wait, so the CPU decides: prepare (copy, hash: 2 µs),
 *  apply (2 µs), a share of the group's nodes and packed record: 10–20 µs each, 50,000–90,000/s. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from '../src/open.js'
import { heading, median, percentile } from './measure.js'

const seconds = 2
const runs = 3

type Step = (index: number) => Promise<unknown>

async function rate(inFlight: number, step: Step): Promise<number> {
  let index = 0
  const end = performance.now() + seconds * 1000
  const worker = async () => {
    while (performance.now() < end) await step(index++)
  }
  const start = performance.now()
  await Promise.all(Array.from({ length: inFlight }, worker))
  return (index / (performance.now() - start)) * 1000
}

async function latencies(step: Step): Promise<number[]> {
  const all: number[] = []
  for (let index = 0; index < 2_000; index++) {
    const start = performance.now()
    await step(index)
    all.push(performance.now() - start)
  }
  return all
}

export async function main(): Promise<void> {
  console.log(heading())
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-bench-'))
  try {
    await using store = await open({ directory })
    const value = Buffer.alloc(100, 'x')
    const steps: [string, Step][] = [
      ['append, one key', () => store.append('log', value)],
      ['append, 1,000 keys', (index) => store.append(`logs/${index % 1000}`, value)],
      ['put, 1,000 keys', (index) => store.put(`puts/${index % 1000}`, value)],
      ['get, 1,000 keys', (index) => store.get(`puts/${index % 1000}`)],
    ]
    for (const [name, step] of steps) {
      const rates: number[] = []
      for (let run = 0; run < runs; run++) rates.push(await rate(64, step))
      const lone = await latencies(step)
      console.log(
        `${name.padEnd(20)} 64 in flight ${Math.round(median(rates)).toLocaleString('en')}/s` +
          ` (${rates.map((each) => Math.round(each / 1000)).join(', ')} k)` +
          `   lone p50 ${percentile(lone, 50).toFixed(3)} ms, p99 ${percentile(lone, 99).toFixed(3)} ms`,
      )
    }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

await main()
