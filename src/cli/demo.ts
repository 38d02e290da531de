/** `tailrace demo`: two big jobs, followed live out of a temporary store by another process, then
 *  read again from the start, every byte compared. See rfc/11. */

import type { RootView } from '../api/kvs.js'
import { jobsNamespace } from '../job/keys.js'
import type { Invocation } from './invocation.js'
import {
  MemoryPeak,
  measureLive,
  measureReplay,
  type OnProgress,
  type Passage,
  type RippleShape,
} from './measure.js'
import { megabytes, Progress } from './progress.js'
import { withTemporaryServer } from './temporary.js'

/** Many short lines, then Flux's headline: few very long ones. */
const shapes: readonly RippleShape[] = [
  { length: 80, count: 2_000_000 },
  { length: 2_000_000, count: 80 },
]

const next = [
  `npx tailrace run -- sh -c 'for i in 1 2 3; do date; sleep 1; done'`,
  'npx tailrace jobs',
  'npx tailrace --help',
]

type Row = { readonly shape: RippleShape; readonly live: Passage; readonly replay: Passage }

type Result = {
  readonly rows: readonly Row[]
  readonly memory: number | undefined
  readonly root: RootView
  readonly ms: number
}

export async function demo(invocation: Invocation): Promise<undefined> {
  const { stdout, options } = invocation
  const scale = options.integer('scale', 1) ?? 1
  const started = performance.now()
  const result = await withTemporaryServer(async ({ store, pid }): Promise<Result> => {
    const memory = new MemoryPeak(pid)
    const lives = []
    for (const shape of shapes.map((full) => scaled(full, scale))) {
      const live = await shown(invocation, shape, 'live', (onProgress) =>
        measureLive(store, shape, onProgress),
      )
      lives.push({ shape, live })
    }
    const rows: Row[] = []
    for (const { shape, live } of lives) {
      const replay = await shown(invocation, shape, 'again', (onProgress) =>
        measureReplay(store, live.id, shape, onProgress),
      )
      rows.push({ shape, live, replay })
    }
    const root = await store.root({ namespace: jobsNamespace })
    return { rows, memory: memory.end(), root, ms: performance.now() - started }
  })
  if (options.flag('json')) await stdout.json(jsonOf(result))
  else await stdout.write(summaryOf(result))
  return undefined
}

async function shown<T>(
  invocation: Invocation,
  shape: RippleShape,
  what: string,
  measure: (onProgress: OnProgress) => Promise<T>,
): Promise<T> {
  const title = `${nameOf(shape)}, ${what}`.padEnd(24)
  const progress = new Progress(invocation.stderr, title, bytesOf(shape))
  try {
    return await measure((bytes, appends) => progress.update(bytes, appends))
  } finally {
    await progress.end()
  }
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

/** Bytes a second. */
export function rateOf(passage: Passage): number {
  return passage.bytes / (passage.ms / 1000)
}

export function nameOf(shape: RippleShape): string {
  return `lptest ${shape.length} ${shape.count}`
}

function bytesOf(shape: RippleShape): number {
  return (shape.length + 1) * shape.count
}

function scaled(shape: RippleShape, scale: number): RippleShape {
  return { length: shape.length, count: Math.max(1, Math.floor(shape.count / scale)) }
}
