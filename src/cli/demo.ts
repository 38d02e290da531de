/** `tailrace demo`: two big jobs, followed live out of a temporary store by another process, then
 *  read again from the start, every byte compared; and `tailrace lptest`, the command of those
 *  jobs. See rfc/11, rfc/13.
 *  Invariant: memory is bounded whatever the length and the count. */

import type { RootView } from '../api/kvs.js'
import { jobsNamespace } from '../api/namespace.js'
import { argument, type CommandContext, command, option, UsageError } from './command.js'
import type { OnProgress, Passage, RippleShape } from './measure.js'
import { json } from './options.js'
import { Progress, transferText } from './progress.js'
import { Ripple } from './ripple.js'
import { integer } from './units.js'

/** The two shapes of output: many short lines, then few very long ones. */
const shapes: readonly RippleShape[] = [
  { length: 80, count: 2_000_000 },
  { length: 2_000_000, count: 80 },
]

const next = [
  `npx tailrace run -- sh -c 'for i in 1 2 3; do date; sleep 1; done'`,
  'npx tailrace jobs',
  'npx tailrace --help',
]

const lengthDefault = 79
const countDefault = 200
/** The smallest size of one write of lptest in bytes, except for the last one. */
const writeSize = 128 * 1024

type Row = { readonly shape: RippleShape; readonly live: Passage; readonly replay: Passage }

type Result = {
  readonly rows: readonly Row[]
  readonly memory: number | undefined
  readonly root: RootView
  readonly ms: number
}

export const demo = command({
  name: 'demo',
  summary: 'follow two big jobs out of a temporary store and check every byte',
  options: {
    scale: option('--scale <n>', 'a fraction 1/n of the bytes (default: 1)', integer(1)),
    json,
  },
  examples: ['tailrace demo', 'tailrace demo --json'],
  run: async ({ stdout, stderr, options }) => {
    const { scale = 1 } = options
    const { MemoryPeak, measureLive, measureReplay } = await import('./measure.js')
    const { withTemporaryServer } = await import('./temporary.js')
    const started = performance.now()
    const result = await withTemporaryServer(async ({ store, pid }): Promise<Result> => {
      const memory = new MemoryPeak(pid)
      const lives = []
      for (const shape of shapes.map((full) => scaled(full, scale))) {
        const live = await shown(stderr, shape, 'live', (onProgress) =>
          measureLive(store, shape, onProgress),
        )
        lives.push({ shape, live })
      }
      const rows: Row[] = []
      for (const { shape, live } of lives) {
        const replay = await shown(stderr, shape, 'again', (onProgress) =>
          measureReplay(store, live.id, shape, onProgress),
        )
        rows.push({ shape, live, replay })
      }
      const root = await store.root({ namespace: jobsNamespace })
      return { rows, memory: memory.end(), root, ms: performance.now() - started }
    })
    if (options.json) await stdout.json(jsonOf(result))
    else await stdout.write(summaryOf(result))
  },
})

async function shown<T>(
  stderr: CommandContext['stderr'],
  shape: RippleShape,
  what: string,
  measure: (onProgress: OnProgress) => Promise<T>,
): Promise<T> {
  const title = `${nameOf(shape)}, ${what}`.padEnd(24)
  const total = bytesOf(shape)
  await using progress = new Progress(stderr)
  return await measure((done) => progress.show((ms) => transferText({ title, done, total, ms })))
}

function summaryOf(result: Result): string {
  const rows = result.rows.flatMap(({ shape, live, replay }) => [
    `${nameOf(shape)}: ${live.bytes.toLocaleString('en')} bytes, each as lptest prints it`,
    `  live    ${passageText(live)}`,
    `  again   ${passageText(replay)}`,
    `  appends ${live.appends} = responses ${live.appends} = responses again ${replay.appends}`,
  ])
  const memory = result.memory === undefined ? 'not known here' : `${megabytes(result.memory)} MB`
  const lines = [
    ...rows,
    `server memory, peak: ${memory} (anonymous)`,
    `root of the jobs: seq ${result.root.seq} ${result.root.ref}`,
    `all in ${(result.ms / 1000).toFixed(1)} s; the server has ended, its store is removed`,
    '',
    'Try next:',
    ...next.map((command) => `  ${command}`),
  ]
  return `${lines.join('\n')}\n`
}

/** Returns millions of bytes, rounded, as text. */
function megabytes(bytes: number): string {
  return Math.round(bytes / 1e6).toString()
}

function passageText(passage: Passage): string {
  const seconds = (passage.ms / 1000).toFixed(2)
  return `${seconds} s, ${megabytes(rateOf(passage))} MB/s`
}

function jsonOf(result: Result): unknown {
  return {
    jobs: result.rows.map(({ shape, live, replay }) => ({
      command: nameOf(shape),
      bytes: live.bytes,
      appends: live.appends,
      responses: live.appends,
      liveMs: live.ms,
      liveMBps: rateOf(live) / 1e6,
      replayResponses: replay.appends,
      replayMs: replay.ms,
      replayMBps: rateOf(replay) / 1e6,
    })),
    serverPeakBytes: result.memory ?? null,
    root: { seq: result.root.seq, ref: result.root.ref },
    ms: result.ms,
  }
}

/** Returns the rate of a passage, in bytes a second. */
function rateOf(passage: Passage): number {
  return passage.bytes / (passage.ms / 1000)
}

function nameOf(shape: RippleShape): string {
  return `lptest ${shape.length} ${shape.count}`
}

function bytesOf(shape: RippleShape): number {
  return (shape.length + 1) * shape.count
}

function scaled(shape: RippleShape, scale: number): RippleShape {
  return { length: shape.length, count: Math.max(1, Math.floor(shape.count / scale)) }
}

export const lptest = command({
  name: 'lptest',
  summary: 'print the ripple test: COUNT lines of LENGTH columns',
  parameters: {
    length: argument('[length]', integer()),
    count: argument('[count]', integer()),
  },
  examples: ['tailrace lptest', 'tailrace lptest 2 3', 'tailrace lptest 80 2000000 > ripple.txt'],
  run: async ({ args, stdout }) => {
    const { length = lengthDefault, count = countDefault } = args
    if (!Number.isSafeInteger((length + 1) * count)) {
      throw new UsageError(`${count} lines of ${length} are more bytes than can be counted`)
    }
    const ripple = new Ripple(length, count)
    let small: Buffer[] = []
    let smallSize = 0
    for (const piece of ripple.pieces(0, ripple.size)) {
      if (smallSize === 0 && piece.length >= writeSize) {
        await stdout.write(piece)
        continue
      }
      small.push(piece)
      smallSize += piece.length
      if (smallSize < writeSize) continue
      await stdout.write(Buffer.concat(small))
      small = []
      smallSize = 0
    }
    if (smallSize > 0) await stdout.write(Buffer.concat(small))
  },
})
