/** How fast is a value of 1 GiB, and how much memory does it take in the server and in its client,
 *  on every way in and out?
 *
 *  Expected. A put holds two batches of 2 MiB and the blob that fills, a read one blob and what
 *  the socket takes, a watch its credit of 4 MiB; caches 32 and 16 MiB. So some 60 MB above an
 *  idle process, whatever the size. Memory is RssAnon, sampled each 100 ms. Every byte is hashed
 *  on both ends and written once: 100–300 MB/s. Each client is a command in a process of its own;
 *  what comes out is compared by its hash. */

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { MemoryPeak } from '../src/cli/measure.js'
import { connect } from '../src/client/node.js'
import { mainFile } from '../src/local/installation.js'
import type { Bench } from './bench.js'
import type { Row } from './figures.js'
import { now } from './measure.js'
import { tailrace } from './systems/tailrace.js'
import { withServer } from './turns.js'

const pieceSize = 1024 * 1024
const piecesOfRun = 1024

/** Makes pieces that differ, the same ones each time. */
function* pieces(count: number): Generator<Buffer> {
  const piece = createHash('shake256', { outputLength: pieceSize }).update('piece').digest()
  for (let at = 0; at < count; at++) {
    const next = Buffer.from(piece)
    next.writeUInt32LE(at, 0)
    yield next
  }
}

type Ended = {
  readonly digest: string
  readonly bytes: number
  readonly ms: number
  /** The largest memory of the client, in bytes. */
  readonly client: number
}

export const large: Bench = {
  question: 'how fast is a value of 1 GiB, and how much memory does it take?',
  run: async ({ scale }): Promise<readonly Row[]> => {
    const count = Math.ceil(piecesOfRun / scale)
    const expected = createHash('sha256')
    for (const piece of pieces(count)) expected.update(piece)
    const digest = expected.digest('hex')
    return withServer(tailrace, async ({ address, pid = 0 }) => {
      await using store = await connect(address)
      const idle = new MemoryPeak(pid).end() ?? 0
      const rows: Row[] = []
      const servers: number[] = []
      const clients: number[] = []
      const run = async (work: string, args: readonly string[], input: number, bytes: number) => {
        const memory = new MemoryPeak(pid)
        const ended = await call([...args, '--url', address], input)
        servers.push(((memory.end() ?? Number.NaN) - idle) / 1e6)
        clients.push(ended.client / 1e6)
        if (input === 0 && ended.bytes !== bytes) throw new Error(`${work}: ${ended.bytes} bytes`)
        if (input === 0 && bytes === count * pieceSize && ended.digest !== digest) {
          throw new Error(`${work}: other bytes`)
        }
        const values = [bytes / 1_000 / ended.ms]
        const figures = [{ system: 'tailrace', values }] as const
        rows.push({ bench: 'large', work, unit: 'MB/s', better: 'more', figures })
      }
      const size = count * pieceSize
      await run('`put`', ['put', 'big', '-'], count, size)
      if ((await store.stat('big'))?.size !== size) throw new Error('put: another size')
      await run('`get`', ['get', 'big'], 0, size)
      await run('`get --offset`', ['get', 'big', '--offset', String(size / 2)], 0, size / 2)
      await run('`append --stream`', ['append', 'log', '-', '--stream', '--seal'], count, size)
      await run('`watch`', ['watch', 'log'], 0, size)
      const row = { bench: 'large', unit: 'MB', better: 'less' } as const
      const most = (values: readonly number[]) =>
        [{ system: 'tailrace', values: [Math.max(...values)] }] as const
      return [
        ...rows,
        { ...row, work: 'memory of the server above idle, the most', figures: most(servers) },
        { ...row, work: 'memory of the client, the most', figures: most(clients) },
      ]
    })
  },
}

/** Runs a command with so many pieces on its stdin. */
async function call(args: readonly string[], input: number): Promise<Ended> {
  const started = now()
  const child = spawn(process.execPath, [mainFile, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  const memory = child.pid === undefined ? undefined : new MemoryPeak(child.pid)
  const hash = createHash('sha256')
  let bytes = 0
  child.stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    hash.update(chunk)
  })
  const closed = once(child, 'close')
  for (const piece of pieces(input)) {
    if (!child.stdin.write(piece)) await once(child.stdin, 'drain')
  }
  child.stdin.end()
  const [code] = await closed
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${String(code)}`)
  const client = memory?.end() ?? Number.NaN
  return { digest: hash.digest('hex'), bytes, ms: now() - started, client }
}
