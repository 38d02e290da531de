/** How much memory does a value of 2 GiB take, in the server and in its client, on every way in and out?
 *  `npx tsx bench/large.ts [--gib 2]`
 *
 *  Sketch: a put holds two batches of 2 MiB and the blob that fills, a read one blob and what the socket
 *  takes, a watch its credit of 4 MiB; caches 32 and 16 MiB. So some 60 MB above an idle process, whatever
 *  the size. Memory is RssAnon, sampled each 100 ms; every byte is hashed on both ends. */

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { MemoryPeak } from '../src/cli/measure.js'
import { withTemporaryServer } from '../src/cli/temporary.js'
import { mainFile } from '../src/local/installation.js'
import { heading } from './measure.js'

const pieceSize = 1024 * 1024

/** Pieces that differ, made again and again from the same seed. */
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
  readonly client: number
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { gib: { type: 'string', default: '2' } } })
  const count = Number(values.gib) * 1024
  const expected = createHash('sha256')
  for (const piece of pieces(count)) expected.update(piece)
  const digest = expected.digest('hex')
  console.log(heading())
  await withTemporaryServer(async ({ store, pid, url }) => {
    const idle = idleOf(pid)
    const run = async (name: string, args: readonly string[], input: number, wanted?: string) => {
      const memory = new MemoryPeak(pid)
      const ended = await call([...args, '--url', url], input)
      const server = (memory.end() ?? Number.NaN) - idle
      if (wanted !== undefined && ended.digest !== wanted) throw new Error(`${name}: other bytes`)
      const mb = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`
      const rate = `${((count * pieceSize) / 1000 / ended.ms).toFixed(0)} MB/s`
      console.log(`${name.padEnd(16)} server +${mb(server)}, client ${mb(ended.client)}, ${rate}`)
    }
    await run('put', ['put', 'big', '-'], count)
    const stat = await store.stat('big')
    if (stat?.size !== count * pieceSize) throw new Error('put: another size')
    await run('get', ['get', 'big'], 0, digest)
    const half = (count * pieceSize) / 2
    await run('get --offset', ['get', 'big', '--offset', String(half)], 0)
    await run('append --stream', ['append', 'log', '-', '--stream', '--seal'], count)
    await run('watch', ['watch', 'log'], 0, digest)
  })
}

function idleOf(pid: number): number {
  return new MemoryPeak(pid).end() ?? 0
}

async function call(args: readonly string[], input: number): Promise<Ended> {
  const started = performance.now()
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
  return { digest: hash.digest('hex'), bytes, ms: performance.now() - started, client }
}

await main()
