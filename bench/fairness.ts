/** How long do quiet watches wait for their appends while another watch of their socket is flooded?
 *
 *  Expected. 99 keys get an append each 100 ms, some 1,000 a second, which one client watches on one
 *  websocket. A delivery alone takes a commit and a wake-up at each end, 1–2 ms. The flood adds what
 *  stands before a quiet event: in the server a turn of its deliveries (one event of each watch that is
 *  ready: one of 64 KiB, 20 µs), then up to 1 MiB in the socket, which the client reads at 500 MB/s and
 *  more: 2 ms. Its commits take the disk too: so the same flood is measured with its watch on a socket
 *  of its own, and only the difference is about fairness. 2–4 ms more at p50 on the same socket.
 *
 *  The flood is written by a process of its own, 16 in flight. Watches and quiet appends are in this
 *  process, so that the time that it reads the flood counts. Of ours alone. */

import { setTimeout as delay } from 'node:timers/promises'
import { connect } from '../src/client/node.js'
import type { Bench } from './bench.js'
import type { Row } from './figures.js'
import { now, percentile } from './measure.js'
import { tailrace } from './systems/tailrace.js'
import { withServer } from './turns.js'
import { Worker } from './worker.js'

const quiet = 99
const everyMs = 100
/** The appends of one tick follow each other; ticks are spread over the time of a turn. */
const ticks = 11
/** The time in which both ends become warm, and nothing is measured, in ms. */
const warmMs = 3_000
const durationMs = 6_000
const inFlight = 16
/** More than are written in the time. */
const floodRecords = 10_000_000

type Flood = { readonly name: string; readonly size: number; readonly socket: 'own' | 'same' }
const floods: readonly (Flood | undefined)[] = [
  undefined,
  ...[4 * 1024, 64 * 1024].flatMap((size): Flood[] => [
    { name: `a flood of ${size / 1024} KiB on another socket`, size, socket: 'own' },
    { name: `a flood of ${size / 1024} KiB on the same socket`, size, socket: 'same' },
  ]),
]

export const fairness: Bench = {
  question: 'how long do quiet watches wait beside a flooded one on their socket?',
  byNameOnly: true,
  run: async ({ runs, scale }): Promise<readonly Row[]> => {
    const p50s: number[][] = floods.map(() => [])
    const p99s: number[][] = floods.map(() => [])
    for (let run = 0; run < runs; run++) {
      for (const [at, flood] of floods.entries()) {
        const delays = await delaysBeside(flood, durationMs / scale)
        p50s[at]?.push(percentile(delays, 50))
        p99s[at]?.push(percentile(delays, 99))
      }
    }
    const row = { bench: 'fairness', unit: 'ms', better: 'less' } as const
    return floods.flatMap((flood, at): readonly Row[] => {
      const work = `an append to 1 of ${quiet} quiet watches, beside ${flood?.name ?? 'nothing'}`
      return [
        { ...row, work: `${work}, p50`, figures: [{ system: 'tailrace', values: p50s[at] ?? [] }] },
        { ...row, work: `${work}, p99`, figures: [{ system: 'tailrace', values: p99s[at] ?? [] }] },
      ]
    })
  },
}

/** Returns how long each quiet append took from its call to its event, in ms. */
function delaysBeside(flood: Flood | undefined, ms: number): Promise<readonly number[]> {
  return withServer(tailrace, async (server) => {
    await using watcher = await connect(server.address)
    await using other = await connect(server.address)
    await using writer = await connect(server.address)
    await using flooding = await Worker.start(tailrace, server)
    const ended = new AbortController()
    const { signal } = ended
    const keys = Array.from({ length: quiet }, (_, at) => `quiet/${at}`)
    const delays: number[] = []
    const begun = now()
    const sent = keys.map((): number[] => [])
    const watching = keys.map(async (key, at) => {
      for await (const event of watcher.watch(key, { mode: 'append', waitCreate: true, signal })) {
        if (event.type !== 'append') continue
        const sentAt = sent[at]?.[event.index] ?? Number.NaN
        if (sentAt > begun + warmMs) delays.push(now() - sentAt)
      }
    })
    if (flood) {
      const args = { keys: ['flood'], records: floodRecords, inFlight, size: flood.size }
      const writes = flooding.begin('spread', args)
      writes.result.catch(() => {}) // it is killed before it ends
      await writes.ready
      const of = flood.socket === 'same' ? watcher : other
      watching.push(drain(of.watch('flood', { mode: 'append', waitCreate: true, signal })))
      writes.go()
    }
    const ends = Promise.allSettled(watching)
    const start = begun
    const appends: Promise<unknown>[] = []
    for (let tick = 0; now() < start + warmMs + ms; tick++) {
      await delay(Math.max(1, start + (tick * everyMs) / ticks - now()))
      for (let at = tick % ticks; at < quiet; at += ticks) {
        sent[at]?.push(now())
        appends.push(writer.append(keys[at] ?? '', 'quiet'))
      }
    }
    await Promise.all(appends)
    ended.abort()
    await ends
    return delays
  })
}

async function drain(events: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of events);
}
