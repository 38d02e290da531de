/** How long does a lone append take, from its call to its answer, and to a watcher in another
 *  process: alone, and while another client has 16 appends to other keys in flight?
 *
 *  Expected. To the server and back over a Unix socket, 0.1 ms, of which most are wake-ups; one
 *  write and one fdatasync (0.15–0.3 ms); the watcher is told when the commit is durable, in
 *  parallel to the answer: one system call more and one wake-up. So about twice a write +
 *  fdatasync of the same disk, which the column of the plain file has: 4 KiB appended to a file,
 *  then `tail -f`, which inotify wakes. Under load an append waits for the group that is on its
 *  way, and then for its own: one fdatasync and a half more. The pause of 1 ms after each answer
 *  lets all come to rest. The tail, p99 and p99.9, is what the disk and the scheduler do. */

import type { Bench } from './bench.js'
import type { Gate, Row } from './figures.js'
import { percentile } from './measure.js'
import { inTurn, type Measured } from './turns.js'
import { Worker } from './worker.js'

const records = 1_200
/** The share of them, from the start, that does not count: V8 compiles meanwhile. */
const warmShare = 1 / 3
const pauseMs = 1
const size = 100
/** A page of the disk: the plain file's write, which the gates compare with. */
const fileSize = 4_096
const percents = [50, 99, 99.9] as const
/** The other client goes on until its process is ended. */
const otherLoad = {
  work: 'append',
  prefix: 'load',
  keys: 100,
  inFlight: 16,
  size,
  warmMs: 0,
  ms: 65_000,
} as const

type Load = 'alone' | 'under load'
type Moment = 'to the answer' | 'to a watcher'
type Name = `${Load} ${Moment} ${(typeof percents)[number]}`

export const appendLatency: Bench = {
  question: 'how long does a lone append take, to its answer and to a watcher elsewhere?',
  run: async ({ runs, scale, systems }): Promise<readonly Row[]> => {
    const count = Math.ceil(records / scale)
    const outcomes = await inTurn<Name>(systems, runs, async (system, server) => {
      await using writer = await Worker.start(system, server)
      await using watcher = await Worker.start(system, server)
      const args = { records: count, size: system.id === 'file' ? fileSize : size }
      const alone = await lone('alone', { writer, watcher }, args)
      await using other = await Worker.start(system, server)
      return { ...alone, ...(await lone('under load', { writer, watcher, other }, args)) }
    })
    const writes = outcomes.values('file', 'alone to the answer 50')
    return (['alone', 'under load'] as const).flatMap((load) =>
      (['to a watcher', 'to the answer'] as const).flatMap((moment) =>
        percents.map((percent): Row => {
          const watched = load === 'alone' && moment === 'to a watcher'
          const gates: Gate[] = []
          if (watched && percent === 50) {
            gates.push({ label: 'write + fdatasync of 4 KiB', values: writes, ratio: 2 })
          }
          if (watched && percent === 99) gates.push({ bound: 3 })
          return {
            bench: 'append-latency',
            work: `100 B, ${load}, ${moment}, p${percent}`,
            unit: 'ms',
            better: 'less',
            figures: outcomes.figures(`${load} ${moment} ${percent}`),
            gates,
          }
        }),
      ),
    )
  },
}

async function lone(
  load: Load,
  workers: { readonly writer: Worker; readonly watcher: Worker; readonly other?: Worker },
  records: { readonly records: number; readonly size: number },
): Promise<Measured<Name>> {
  const { writer, watcher, other } = workers
  const args = { ...records, key: `lone/${load.replace(' ', '-')}` }
  const pacing = writer.begin('pace', { ...args, pauseMs })
  await pacing.ready
  const arriving = watcher.begin('arrive', args)
  await arriving.ready
  const loading = other?.begin('rate', otherLoad)
  await loading?.ready
  pacing.go()
  const measuring = Promise.all([pacing.result, arriving.result])
  const ended = loading?.result.then(() => Promise.reject(new Error('the load ended too early')))
  const [answered, arrived] = await (ended ? Promise.race([measuring, ended]) : measuring)
  const measured: Partial<Record<Name, number>> = {}
  for (const percent of percents) {
    measured[`${load} to the answer ${percent}`] = percentile(counted(answered), percent)
    measured[`${load} to a watcher ${percent}`] = percentile(counted(arrived), percent)
  }
  return measured
}

function counted(times: Float64Array): Float64Array {
  return times.subarray(Math.floor(times.length * warmShare))
}
