/** The cache between processes: a server of its own, holders that are killed or stopped, a server that is killed. The
 *  contract forces the orders within one process; here is what only a process can do. See rfc/22. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Cache } from '../../src/api/cache.js'
import type { Store } from '../../src/api/store.js'
import { openCache } from '../../src/cache/cache.js'
import { connect } from '../../src/client/node.js'
import { text } from '../kvs/expect.js'
import { bundledPrograms } from '../support/programs.js'
import { gated } from './gates.js'

const programs = bundledPrograms({
  server: 'test/client/server-child.ts',
  worker: 'test/cache/worker.ts',
})

const cacheFile = fileURLToPath(new URL('../../dist/cache/cache.js', import.meta.url))
const clientFile = fileURLToPath(new URL('../../dist/client/node.js', import.meta.url))
/** A program of the package, as it is built, that holds its event loop up for longer than its ttl. The thread
 *  of its client has time to start on a slow machine. */
const blocking = `
import { writeSync } from 'node:fs'
import { openCache } from ${JSON.stringify(cacheFile)}
import { connect } from ${JSON.stringify(clientFile)}
const say = (line) => writeSync(1, JSON.stringify(line) + '\\n')
const store = await connect(process.argv[1])
const result = await openCache(store).cached('held', () => {
  say({ claimed: true })
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 8_000)
  return 'first'
}, { ttl: 5_000 })
say({ result })
await store.close()
`

class Child {
  readonly process: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(...args: readonly string[]) {
    const child = spawn(process.execPath, [...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    this.process = child
    const lines: Interface = createInterface({ input: child.stdout })
    this.#lines = lines[Symbol.asyncIterator]()
    children.push(this)
  }

  async line(): Promise<string> {
    const { value, done } = await this.#lines.next()
    if (done) throw new Error('the process has ended')
    return value
  }

  async said(): Promise<{ readonly runs: number; readonly by: readonly string[] }> {
    return JSON.parse(await this.line())
  }

  tell(): void {
    this.process.stdin?.write('\n')
  }

  async kill(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return
    this.process.kill('SIGKILL')
    await once(this.process, 'exit')
  }
}

let directory: string
let children: Child[] = []
let server: Child
let target: string
let store: Store
let cache: Cache

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-cache-'))
  await startServer()
  store = await connect(target, { reconnect: { minMs: 1, maxMs: 20 } })
  cache = openCache(store, { owner: 'test' })
})
afterEach(async () => {
  await store.close()
  await Promise.all(children.map((child) => child.kill()))
  children = []
  await rm(directory, { recursive: true, force: true })
})

async function startServer(): Promise<void> {
  server = new Child(programs.server, directory)
  target = `unix:${await server.line()}`
}

function worker(what: string, options: object): Child {
  return new Child(programs.worker, target, what, JSON.stringify(options))
}

describe('a holder', () => {
  it('that is killed: another one gets the claim', async () => {
    const holder = worker('hold', { name: 'first' })
    expect(await holder.said()).toEqual({ claimed: true })
    const waiting = cache.claim('held')
    await holder.kill()
    const got = await waiting
    expect(got.type).toBe('claimed')
    if (got.type === 'claimed') await got.publish('second')
    expect(text(await (await cache.load('held'))?.get())).toBe('second')
  })

  it('that is stopped past its lease and goes on: its publish is refused, the other result stays', async () => {
    const holder = worker('hold', { name: 'first' })
    expect(await holder.said()).toEqual({ claimed: true })
    holder.process.kill('SIGSTOP')
    const got = await cache.claim('held')
    expect(got.type).toBe('claimed')
    holder.tell()
    holder.process.kill('SIGCONT')
    if (got.type === 'claimed') await got.publish('second')
    expect(await holder.said()).toEqual({ code: 'EFENCED' })
    expect(text(await (await cache.load('held'))?.get())).toBe('second')
  })

  it('whose event loop stands still for longer than its lease keeps it', async () => {
    const holder = new Child('--input-type=module', '-e', blocking, target)
    expect(await holder.said()).toEqual({ claimed: true })
    expect(await cache.cached('held', () => 'second')).toBe('first')
    expect(await holder.said()).toEqual({ result: 'first' })
  })

  it('whose server is killed before the publish: the next server takes it', async () => {
    const claim = await cache.claim('held')
    if (claim.type !== 'claimed') throw new Error(claim.type)
    await server.kill()
    const published = claim.publish('first')
    await startServer()
    await published
    expect(text(await (await cache.load('held'))?.get())).toBe('first')
  })

  it('that is waited for while the server is killed: who waits gets its result', async () => {
    const claim = await cache.claim('held')
    if (claim.type !== 'claimed') throw new Error(claim.type)
    await using other = await connect(target, { reconnect: { minMs: 1, maxMs: 20 } })
    const inner = gated(other)
    const waiting = openCache(inner.store).cached('held', () => 'not this')
    // From its take on, which is sent until it is answered, and then waits.
    await expect.poll(() => inner.calls).toContain('take')
    await server.kill()
    await startServer()
    await claim.publish(Buffer.from('9101', 'hex'))
    expect(await waiting).toEqual([])
  })
})

describe('many processes', () => {
  it.each([
    { processes: 2, actions: 50, calls: 50 },
    { processes: 8, actions: 1, calls: 125 },
  ])('%o compute each action once', async ({ processes, actions, calls }) => {
    const workers = Array.from({ length: processes }, (_, at) =>
      worker('compute', { name: `w${at}`, actions, calls }),
    )
    for (const each of workers) expect(await each.said()).toEqual({ ready: true })
    for (const each of workers) each.tell()
    const outcomes = await Promise.all(workers.map((each) => each.said()))
    expect(outcomes.reduce((sum, { runs }) => sum + runs, 0)).toBe(actions)
    // Everybody has the same results.
    const [first] = outcomes
    expect(first?.by.length).toBe(calls)
    for (const { by } of outcomes) expect(by).toEqual(first?.by)
  })
})
