/** The peer without a store: lptest → pipe → a writer process that appends 64 KiB at a time, each
 *  with an fdatasync → a file → `tail -f` → this process, which compares every byte. */

import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { Passage, RippleShape } from '../src/cli/measure.js'
import { Ripple } from '../src/cli/ripple.js'
import { mainFile } from '../src/local/installation.js'

const writeSize = 64 * 1024

/** From the start of lptest to the last byte out of `tail -f`. Leaves the file. */
export async function plainLive(path: string, shape: RippleShape): Promise<Passage> {
  closeSync(openSync(path, 'w', 0o600))
  const tail = spawn('tail', ['-c', '+1', '-f', path], { stdio: ['ignore', 'pipe', 'inherit'] })
  const writer = fork(fileURLToPath(import.meta.url), ['write', path], {
    stdio: ['pipe', 'inherit', 'inherit', 'ipc'],
  })
  const { stdin } = writer
  if (!stdin) throw new Error('the writer has no stdin')
  await once(writer, 'message') // It is ready: its start is not measured, as a server's is not.
  const started = performance.now()
  const args = [mainFile, 'lptest', String(shape.length), String(shape.count)]
  const source = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  source.stdout.pipe(stdin)
  try {
    return await compare(tail.stdout, shape, started)
  } finally {
    tail.kill()
    await once(writer, 'exit')
  }
}

/** The file again, from another process. */
export async function plainReplay(path: string, shape: RippleShape): Promise<Passage> {
  const started = performance.now()
  const cat = spawn('cat', [path], { stdio: ['ignore', 'pipe', 'inherit'] })
  return compare(cat.stdout, shape, started)
}

async function compare(source: Readable, shape: RippleShape, started: number): Promise<Passage> {
  const ripple = new Ripple(shape.length, shape.count)
  let bytes = 0
  for await (const chunk of source as AsyncIterable<Buffer>) {
    const differs = ripple.differs(bytes, chunk)
    if (differs !== undefined) throw new Error(`byte ${differs} is not what lptest prints`)
    bytes += chunk.length
    if (bytes === ripple.size) break
  }
  if (bytes !== ripple.size) throw new Error(`${bytes} bytes came, not ${ripple.size}`)
  return { bytes, appends: Math.ceil(bytes / writeSize), ms: performance.now() - started }
}

/** The writer process. */
async function write(path: string): Promise<void> {
  const file = openSync(path, 'a')
  process.send?.('ready')
  let open: Buffer[] = []
  let size = 0
  const flush = () => {
    writeSync(file, Buffer.concat(open))
    fdatasyncSync(file)
    open = []
    size = 0
  }
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    open.push(chunk)
    size += chunk.length
    if (size >= writeSize) flush()
  }
  if (size > 0) flush()
  closeSync(file)
  process.disconnect()
}

if (process.argv[2] === 'write') await write(process.argv[3] ?? '')
