/** The server is killed (-9) after the commit and before the answer: what its clients send again to the next one is
 *  answered, and done once. rfc/20, rules 1 to 8. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { connect } from '../../src/client/node.js'
import { text } from '../kvs/expect.js'
import { bundledPrograms } from '../support/programs.js'
import { CuttingProxy } from './cutting-proxy.js'

const programs = bundledPrograms({ server: 'test/client/server-child.ts' })

let directory: string
let server: ChildProcess
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-killed-'))
})
afterEach(async () => {
  await kill()
  await rm(directory, { recursive: true, force: true })
})

/** Where it listens: each time at the same place. */
async function start(): Promise<string> {
  const child = spawn(process.execPath, [programs.server, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  server = child
  const [socket] = await once(createInterface({ input: child.stdout }), 'line')
  return socket
}

async function kill(): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return
  server.kill('SIGKILL')
  await once(server, 'exit')
}

it('an append, a transaction and a producer land once', async () => {
  await using proxy = await CuttingProxy.start(directory, await start())
  await using client = await connect(proxy.target, { reconnect: { minMs: 5, maxMs: 50 } })
  await using producer = await client.producer('produced')
  await producer.append('0\n')
  const absent = { key: 'once', absent: true } as const
  const unlink = { op: 'unlink', key: 'none' } as const
  const writes = [
    () => client.append('log', 'x\n', { exactlyOnce: true }),
    () => client.commit({ guards: [absent], ops: [unlink, put] }, { exactlyOnce: true }),
    () => producer.append('1\n'),
  ]
  for (const write of writes) {
    let killed: Promise<void> | undefined
    proxy.loseAnswers(1, () => {
      killed = kill()
    })
    const written = write()
    await expect.poll(() => killed !== undefined, { timeout: 10_000 }).toBe(true)
    await killed
    await start()
    const answer = await written
    const repeated =
      'result' in answer ? (answer.result.repeated ?? answer.repeated) : answer.repeated
    expect(repeated, 'it was there before the server was killed').toBe(true)
  }
  await producer.append('2\n')
  expect(text(await client.get('log'))).toBe('x\n')
  expect(text(await client.get('produced'))).toBe('0\n1\n2\n')
  expect(text(await client.get('once'))).toBe('x')
  // Each took one seq; what was asked again of the producer took one more.
  expect((await client.root()).seq).toBe(6)
}, 60_000)

it('what was on its way when the server was killed at any moment lands once', async () => {
  await using proxy = await CuttingProxy.start(directory, await start())
  await using client = await connect(proxy.target, { reconnect: { minMs: 5, maxMs: 50 } })
  await using producer = await client.producer('produced')
  const count = 240
  const numbers = Array.from({ length: count }, (_, at) => at)
  const lines: Promise<unknown>[] = []
  for (const at of numbers) {
    const options = { exactlyOnce: true } as const
    const write =
      at % 2 === 0 ? client.append('log', `${at}\n`, options) : producer.append(`${at}\n`)
    lines.push(write)
    if (at % 20 === 19) await write
    if (at % 150 === 149) {
      await kill()
      await start()
    }
  }
  await Promise.all(lines)
  const read = async (key: string) =>
    text(await client.get(key))
      .trimEnd()
      .split('\n')
      .map(Number)
  expect(await read('produced')).toEqual(numbers.filter((at) => at % 2 === 1))
  expect((await read('log')).sort((a, b) => a - b)).toEqual(numbers.filter((at) => at % 2 === 0))
}, 60_000)

const put = { op: 'put', key: 'once', value: 'x' } as const
