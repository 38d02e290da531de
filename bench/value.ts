/** What does it cost to forward a structured value of 10 MB through two processes, beside raw bytes of the same
 *  size by put and get on the same server?
 *
 *  A packs an object of records (msgpack) and stores it, B forwards it from key to key, C takes its bytes. A and
 *  C are one process, B the other; each round has a new value. Raw: A puts the bytes, B gets and puts them, C
 *  gets them. The time is from A's call to C's bytes, with what it takes to tell B and C.
 *
 *  Expected. Raw bytes: 10 MB go over the socket four times, each some 15–30 ms of copies at both ends; A's are
 *  hashed (10 ms) and written with one fdatasync, B's are hashed and found. Packed, in one store: A's upload and
 *  C's download are the same, and B's copy by reference is one small commit (1–2 ms). So about half of raw.
 *  Streamed, which is B where it knows the value by one client and stores it by another: B reads and writes as it
 *  gets, so 10 MB are never in its memory, and what it takes is that of raw, or less, since the upload begins with
 *  the first bytes of the download. To open it is msgpack's time for 10 MB, 60–120 ms, which C takes once it
 *  computes. */

import type { Bench } from './bench.js'
import type { Row } from './figures.js'
import { median } from './measure.js'
import { tailrace } from './systems/tailrace.js'
import { withServer } from './turns.js'
import type { Way } from './value-tasks.js'
import { Worker } from './worker.js'

const ways: readonly Way[] = ['raw', 'packed', 'streamed']
/** Records that pack into 10 MB. */
const recordsOf10Megabytes = 65_000
const warmRounds = 3
const rounds = 12

type Round = { readonly ms: number; readonly openedMs: number; readonly size: number }

export const value: Bench = {
  question: 'what does it cost to forward a packed value of 10 MB, beside raw bytes?',
  byNameOnly: true,
  run: async ({ runs, scale }): Promise<readonly Row[]> => {
    const records = Math.ceil(recordsOf10Megabytes / scale)
    const times: Readonly<Record<Way, number[]>> = { raw: [], packed: [], streamed: [] }
    const opened: number[] = []
    const sizes: number[] = []
    for (let run = 0; run < runs; run++) {
      await withServer(tailrace, async (server) => {
        await using one = await Worker.start(tailrace, server)
        await using other = await Worker.start(tailrace, server)
        let seed = 0
        const round = async (way: Way): Promise<Round> => {
          const name = `${way}-${++seed}`
          const [a, b] = [`a/${name}`, `b/${name}`]
          const out = one.begin('handOut', { way, key: a, seed, records })
          const on = other.begin('handOn', { way, from: a, to: b })
          await Promise.all([out.ready, on.ready])
          out.go()
          const { startMs, size } = await out.result
          on.go()
          await on.result
          const { endMs, openedMs } = await one.run('take', { way, from: b, seed, records })
          return { ms: endMs - startMs, openedMs, size }
        }
        const rest = Math.max(1, Math.ceil(rounds / scale))
        const all = { raw: [], packed: [], streamed: [] } as Record<Way, Round[]>
        for (let at = -Math.ceil(warmRounds / scale); at < rest; at++) {
          for (const way of ways) {
            const done = await round(way)
            if (at >= 0) all[way].push(done)
          }
        }
        for (const way of ways) times[way].push(median(all[way].map(({ ms }) => ms)))
        opened.push(median(all.packed.map(({ openedMs }) => openedMs)))
        sizes.push(...ways.flatMap((way) => all[way].map(({ size }) => size)))
      })
    }
    const megabytes = (median(sizes) / 1e6).toFixed(1)
    const row = (work: string, values: readonly number[]): Row => ({
      ...({ bench: 'value', work, unit: 'ms', better: 'less' } as const),
      figures: [{ system: 'tailrace', values }],
    })
    const gates = [{ label: 'raw', values: times.raw, ratio: 1.2 }]
    const size = `${megabytes} MB from A over B to C`
    return [
      row(`${size}, as raw bytes by put and get`, times.raw),
      { ...row(`${size}, packed, forwarded by reference`, times.packed), gates },
      row(`${size}, packed, forwarded by another client`, times.streamed),
      row(`${megabytes} MB of records, opened`, opened),
    ]
  },
}
