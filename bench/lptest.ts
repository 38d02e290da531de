/** How fast does a job's output go process → pipe → durable commits → watch → another process, and
 *  how fast is it read again? `npm run bench -- lptest [--runs N] [--scale N]`
 *
 *  Sketch: 162 MB are 620 blobs of 256 KiB. Pipe 0.15 s, hash 0.1–0.2 s, LMDB with group commits 0.3 s,
 *  websocket 0.1 s, on two cores side by side: 0.4–0.6 s live, 300–400 MB/s; again without the pipe and
 *  the disk's syncs 0.2–0.3 s. The plain file syncs 2,500 times 0.2 ms and copies more: 0.6–0.8 s.
 *  Every byte is compared with what lptest prints, every append counted once, in all four columns. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  MemoryPeak,
  measureLive,
  measureReplay,
  type Passage,
  type RippleShape,
} from '../src/cli/measure.js'
import { withTemporaryServer } from '../src/cli/temporary.js'
import { heading, median } from './measure.js'
import { plainLive, plainReplay } from './plain-file.js'

const runsDefault = '5'

type Run = {
  readonly live: Passage
  readonly replay: Passage
  readonly plain: Passage
  readonly plainReplay: Passage
  /** Bytes, anonymous, of the server, at its peak. */
  readonly memory: number
}

async function measure(shape: RippleShape): Promise<Run> {
  const ours = await withTemporaryServer(async ({ store, pid }) => {
    const memory = new MemoryPeak(pid)
    const live = await measureLive(store, shape)
    const replay = await measureReplay(store, live.id, shape)
    return { live, replay, memory: memory.end() ?? Number.NaN }
  })
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-plain-'))
  try {
    const path = join(directory, 'log')
    const plain = await plainLive(path, shape)
    return { ...ours, plain, plainReplay: await plainReplay(path, shape) }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

function rates(passages: readonly Passage[]): number[] {
  return passages.map(({ bytes, ms }) => bytes / 1000 / ms)
}

/** Median and spread. */
function shown(values: readonly number[], unit: string): string {
  const [low, middle, high] = [Math.min(...values), median(values), Math.max(...values)]
  return `${middle.toFixed(0)} ${unit} (${low.toFixed(0)}–${high.toFixed(0)})`
}

function report(shape: RippleShape, runs: readonly Run[]): void {
  const live = rates(runs.map((run) => run.live))
  const replay = rates(runs.map((run) => run.replay))
  const plain = rates(runs.map((run) => run.plain))
  const plainAgain = rates(runs.map((run) => run.plainReplay))
  const ratio = (ours: readonly number[], theirs: readonly number[]) =>
    `${median(ours.map((rate, run) => rate / (theirs[run] ?? Number.NaN))).toFixed(2)} ×`
  console.log(`lptest ${shape.length} ${shape.count}, ${runs[0]?.live.bytes} bytes`)
  console.log(`  live    ${shown(live, 'MB/s')}, ${ratio(live, plain)} the plain file`)
  console.log(`  again   ${shown(replay, 'MB/s')}, ${ratio(replay, plainAgain)} the plain file`)
  console.log(`  plain file, fdatasync each 64 KiB, tail -f   ${shown(plain, 'MB/s')}`)
  console.log(`  plain file again, cat   ${shown(plainAgain, 'MB/s')}`)
  console.log(
    `  appends ${shown(
      runs.map((run) => run.live.appends),
      'a run',
    )}`,
  )
  console.log(
    `  server memory ${shown(
      runs.map((run) => run.memory / 1e6),
      'MB',
    )}`,
  )
}

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: runsDefault },
    scale: { type: 'string', default: '1' },
  },
})
const runs = Math.max(1, Number(values.runs) || 1)
const scale = Math.max(1, Number(values.scale) || 1)
console.log(`${heading()}, ${runs} runs, medians (lowest–highest)`)
for (const [length, count] of [
  [80, 2_000_000],
  [2_000_000, 80],
] as const) {
  const shape = { length, count: Math.ceil(count / scale) }
  const done: Run[] = []
  for (let run = 0; run < runs; run++) done.push(await measure(shape))
  report(shape, done)
}
