/** How fast does the output of a process go process → pipe → durable commits → watch → another
 *  process, and how fast is it read again from its start? Lines of 80 columns (162 MB) and of
 *  2,000,000 (160 MB).
 *
 *  Expected. 162 MB are 620 blobs of 256 KiB. Pipe 0.15 s, hash 0.1–0.2 s, commits 0.3 s,
 *  websocket 0.1 s, on two cores side by side: 0.4–0.6 s live, 300–400 MB/s; again, without the
 *  pipe and the syncs, 0.2–0.3 s. The plain file syncs 2,500 times 0.2 ms and copies more: 0.6–0.8
 *  s; read again with `cat`.
 *
 *  Ours runs it as a job. A peer gets it by a writer process that appends 64 KiB and more at a
 *  time: with 16 in flight where the order of such appends is kept (Redis, NATS, durable-streams),
 *  else one after the other; ours gets that, too, in rows of its own. A slow peer gets the first
 *  lines only: rates are compared. The watcher is a process of its own and compares every byte with
 *  what lptest prints; of ours, every append is counted once, too. Memory is RssAnon of our server. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { MemoryPeak, measureLive, measureReplay, type RippleShape } from '../src/cli/measure.js'
import { connect } from '../src/client/node.js'
import { mainFile } from '../src/local/installation.js'
import type { Bench } from './bench.js'
import { inPlaceOfFile, type Row } from './figures.js'
import type { Started, System } from './systems/system.js'
import { tailrace } from './systems/tailrace.js'
import { gatherSizeMax } from './tasks.js'
import { inTurn, isNamed, type Measured, type Outcomes } from './turns.js'
import { Worker } from './worker.js'

const shapes: readonly RippleShape[] = [
  { length: 80, count: 2_000_000 },
  { length: 2_000_000, count: 80 },
]
const pipedInFlight = 16
/** Systems that would take minutes, and how many times smaller their output is. */
const slower: Readonly<Partial<Record<System['id'], number>>> = {
  nats: 4,
  postgres: 4,
  etcd: 4,
  'durable-streams': 20,
}

type Name = 'live' | 'again' | 'memory'

export const lptest: Bench = {
  question: 'how fast does the output of a job reach another process, live and read again?',
  run: async ({ runs, scale, systems }): Promise<readonly Row[]> => {
    const rows: Row[] = []
    for (const { length, count } of shapes) {
      const shape = { length, count: Math.ceil(count / scale) }
      // The second shape differs for who looks at lines; of the peers only those of the gates.
      const compared = length === shapes[0]?.length ? systems : systems.filter(isNamed)
      const outcomes = await inTurn<Name>(compared, runs, (system, server) =>
        system.id === 'tailrace' ? job(server, shape) : piped(system, server, shape),
      )
      rows.push(...jobRows(shape, outcomes))
      if (length !== shapes[0]?.length) continue
      const client = await inTurn<Name>([tailrace], runs, (system, server) =>
        piped(system, server, shape),
      )
      rows.push(...clientRows(shape, client, outcomes))
    }
    return rows
  },
}

const shared = { bench: 'lptest', unit: 'MB/s', better: 'more' } as const

function jobRows({ length, count }: RippleShape, outcomes: Outcomes<Name>): readonly Row[] {
  const work = `lptest ${length} ${count} as a job`
  return [
    {
      ...shared,
      work: `${work}, live`,
      figures: outcomes.figures('live'),
      gates: [{ to: 'file', ratio: 2 }],
    },
    {
      ...shared,
      work: `${work}, read again`,
      figures: inPlaceOfFile(outcomes.figures('again'), '`cat`'),
      gates: [{ to: 'file', ratio: 0.8 }],
    },
    {
      ...shared,
      work: `${work}, memory of the server`,
      unit: 'MB',
      better: 'less',
      figures: outcomes.figures('memory'),
      gates: [{ bound: 200 }],
    },
  ]
}

/** Ours as the peers got it; their figures are those beside the job. */
function clientRows(
  { length, count }: RippleShape,
  client: Outcomes<Name>,
  peers: Outcomes<Name>,
): readonly Row[] {
  const work = `lptest ${length} ${count} appended by a client`
  const beside = (name: Name) => [
    ...client.figures(name),
    ...peers.figures(name).filter(({ system }) => system !== 'tailrace'),
  ]
  return [
    {
      ...shared,
      work: `${work}, live`,
      figures: beside('live'),
      gates: [{ to: 'redis', ratio: 1 }],
    },
    {
      ...shared,
      work: `${work}, read again`,
      figures: inPlaceOfFile(beside('again'), '`cat`'),
      gates: [{ to: 'redis', ratio: 1 }],
    },
  ]
}

async function job({ address, pid }: Started, shape: RippleShape): Promise<Measured<Name>> {
  await using store = await connect(address)
  const memory = new MemoryPeak(pid ?? 0)
  const live = await measureLive(store, shape)
  const again = await measureReplay(store, live.id, shape)
  const peak = memory.end() ?? Number.NaN
  return {
    live: live.bytes / 1_000 / live.ms,
    again: again.bytes / 1_000 / again.ms,
    memory: peak / 1e6,
  }
}

async function piped(system: System, server: Started, whole: RippleShape): Promise<Measured<Name>> {
  const count = Math.ceil(whole.count / (slower[system.id] ?? 1))
  const shape = { length: whole.length, count }
  const key = 'output'
  const inFlight = system.orderedSizeMax >= gatherSizeMax ? pipedInFlight : 1
  await using writer = await Worker.start(system, server)
  await using watcher = await Worker.start(system, server)
  const writing = writer.begin('pipe', { key, inFlight })
  await writing.ready
  const watching = watcher.begin('ripple', { ...shape, key, how: 'follow' })
  await watching.ready
  const args = [mainFile, 'lptest', String(shape.length), String(shape.count)]
  const source = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const exit = once(source, 'exit')
  source.stdout.pipe(writer.stdin)
  const [live] = await Promise.all([watching.result, writing.result]).finally(() => source.kill())
  await exit
  const again = await watcher.run('ripple', { ...shape, key, how: 'replay' })
  return { live: rateOf(live), again: rateOf(again) }
}

function rateOf(passage: {
  readonly bytes: number
  readonly startMs: number
  readonly endMs: number
}): number {
  return passage.bytes / 1_000 / (passage.endMs - passage.startMs)
}
