/** Packed values between processes, which share a server and nothing else; their memory is watched from outside. See
 *  rfc/23, rules 5 to 11. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openValues } from '../../src/value/values.js'
import { type Serving, serve } from '../client/serving.js'
import { bundledPrograms } from '../support/programs.js'

const programs = bundledPrograms({ worker: 'test/value/worker.ts' })
const MiB = 1024 * 1024

let serving: Serving
beforeEach(async () => {
  serving = await serve()
})
afterEach(() => serving[Symbol.asyncDispose]())

/** Runs a worker to its end. Returns what it told, and the most anonymous memory that it had, in bytes. */
async function worker(...args: readonly (string | number)[]) {
  const child = spawn(process.execPath, [programs.worker, serving.target, ...args.map(String)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let memory = 0
  const sampling = setInterval(() => {
    memory = Math.max(memory, anonymous(child.pid ?? 0))
  }, 10)
  try {
    const [said, [status]] = await Promise.all([text(child.stdout), once(child, 'exit')])
    expect(status).toBe(0)
    return { ...JSON.parse(said), memory }
  } finally {
    clearInterval(sampling)
    child.kill('SIGKILL')
  }
}

function anonymous(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    return Number(/RssAnon:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1_024
  } catch {
    return 0 // it has ended
  }
}

it('a typed array goes from A over B to C: one upload without a copy, one read, opened once', async () => {
  const count = MiB
  const size = 8 * count + 24
  const sum = (count * (count - 1)) / 2
  expect(await worker('pack', 'a', count)).toMatchObject({
    ...{ isSame: true, isView: true, puts: 1, putBytes: size, reads: 0 },
    counts: { copies: 0, opens: 0, fetches: 0 },
  })
  expect(await worker('forward', 'a', 'b')).toMatchObject({
    ...{ puts: 0, reads: 0, packed: 0 },
    counts: { copies: 0, opens: 0, fetches: 0, stores: 1 },
  })
  expect(await worker('sum', 'b', 8)).toMatchObject({
    ...{ puts: 0, reads: 1, sums: [sum] },
    counts: { copies: 0, opens: 1, fetches: 1 },
  })
  const [a, b] = [await serving.store.stat('a'), await serving.store.stat('b')]
  expect(a?.ref).toBe(b?.ref)
})

it('processes that read a value while another one overwrites it have one value each time, and whole', async () => {
  const values = openValues()
  const versions = [1, 2].map((number) => new Float64Array(20_000).fill(number))
  const put = async (turn: number) => {
    const numbers = versions[turn % 2]
    if (numbers) await (await values.pack(numbers, 'array')).store(serving.store, 'a')
  }
  await put(0)
  const racing = Promise.all([worker('race', 'a', 'to-1', 20), worker('race', 'a', 'to-2', 20)])
  let isRacing = true
  const done = racing.finally(() => {
    isRacing = false
  })
  for (let turn = 1; isRacing; turn++) await put(turn)
  const told = await done
  for (const { faults, used } of told) expect([faults, used]).toEqual([[], [0, 0]])
  expect(new Set(told.flatMap(({ seen }) => seen))).toEqual(new Set([1, 2]))
})

it('a process goes through many times its memory without growing', async () => {
  const [count, size, max] = [24, 8 * MiB, 64 * MiB]
  const bytes = Buffer.alloc(size - 16, 'x')
  await (await openValues().pack(bytes, 'bytes')).store(serving.store, 'many/0')
  for (let at = 1; at < count; at++) {
    await serving.store.commit({ ops: [{ op: 'copy', from: 'many/0', key: `many/${at}` }] })
  }
  const idle = await worker('through', 'many', 0, max)
  const told = await worker('through', 'many', count, max)
  expect(told.bytes).toBe(count * size)
  expect(told.highest).toBeLessThanOrEqual(max)
  // Memory that was given up is freed when the collector comes to it: some twice the bound is seen, of
  // the six times that go through (each value is opened, and read again).
  expect(told.memory - idle.memory).toBeLessThan(4 * max)
})
