/** How many durable appends of 100 B a second does one client process get, with 64 in flight, to
 *  one key and to 1,000 keys in turn: in the first second of a server and a client, and later?
 *
 *  Expected. An append is 150 B on the wire each way, and no round trip of its own: what one turn
 *  of the event loop produced goes out in one system call at each end. The appends of a group
 *  share one write and one fdatasync (0.15–0.3 ms), at most 64 of them, so the disk allows
 *  200,000/s and the CPU decides: decode, apply, a share of the nodes and the answer, 15–30 µs at
 *  the server; 10–20 µs at the client. 1,000 keys edit a leaf of a directory for each of 32 keys
 *  more. In the first second V8 interprets what it will compile: a third of the later rate. Redis does the same with 10 µs in C, and ioredis takes as much as our client. A thousand
 *  plain files are synced one by one: 64 fdatasyncs a round. */

import type { Bench } from './bench.js'
import type { Row } from './figures.js'
import { inTurn } from './turns.js'
import { Worker } from './worker.js'

const works = ['1 key, in the first second', '1 key', '1,000 keys'] as const
/** V8 compiles what an operation needs in the first two seconds. */
const warmMs = 1_500
const durationMs = 800
const size = 100
const inFlight = 64

export const appendRate: Bench = {
  question: 'how many durable appends a second does one client get?',
  run: async ({ runs, scale, systems }): Promise<readonly Row[]> => {
    const outcomes = await inTurn(systems, runs, async (system, server) => {
      await using writer = await Worker.start(system, server)
      const rateOf = ({ count, ms }: { readonly count: number; readonly ms: number }) =>
        (count * 1_000) / ms
      const run = (keys: number) => {
        const prefix = `appends-${keys}`
        const args = {
          work: 'append',
          prefix,
          keys,
          inFlight,
          size,
          warmMs: warmMs / scale,
          ms: durationMs / scale,
        } as const
        return writer.run('rate', args)
      }
      const one = await run(1)
      return {
        '1 key, in the first second': rateOf(one.first),
        '1 key': rateOf(one),
        '1,000 keys': rateOf(await run(1_000)),
      }
    })
    return works.map((name) => ({
      bench: 'append-rate',
      work: `100 B, ${name}, ${inFlight} in flight`,
      unit: 'appends/s',
      better: 'more',
      figures: outcomes.figures(name),
      gates: name === '1 key, in the first second' ? [] : [{ to: 'redis', ratio: 1 }],
    }))
  },
}
