/** kill -9 of a process that holds a lease and wrote keys that expire: all of it is there after the
 *  restart, and ends in its time. See rfc/9. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Op } from '../../src/api/transaction.js'
import { open } from '../../src/open.js'
import { clockAllowanceMs, hearingMs } from '../../src/present/lease-table.js'
import { TestClock } from '../clock.js'
import { bundledPrograms } from '../support/programs.js'
import { refusal } from './expect.js'

const programs = bundledPrograms({ child: 'test/kvs/deadlines-child.ts' })

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-deadlines-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

it('leases and expiry are there after kill -9, and end in their time', async () => {
  const running = spawn(process.execPath, [programs.child, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let token = { incarnation: '', seq: 0 }
  for await (const line of createInterface({ input: running.stdout })) {
    token = JSON.parse(line)
    running.kill('SIGKILL')
  }
  if (running.signalCode === null) await once(running, 'exit')

  const clock = new TestClock()
  const take: Op = { op: 'lease', key: 'lock', action: 'take', ttl: 60_000 }
  const guarded = { guards: [{ lease: 'lock', token }], ops: [] }
  // As long after the crash as the first key had: it was due while nobody was there.
  clock.advance(100_000)
  {
    await using store = await open({ directory, environment: clock })
    const { seq } = await store.root()
    clock.advance(0)
    await store.root({ waitSeq: seq + 1 })
    const { entries } = await store.list('')
    expect(entries.map(({ name }) => name)).toEqual(['log', 'long'])
    expect(await refusal(store.commit({ ops: [take] }))).toMatchObject({
      code: 'ECONFLICT',
      failed: { op: 0, state: { lease: { key: 'lock', token, ttl: 200_000, owner: 'child' } } },
    })
    clock.advance(59_000)
    await store.commit(guarded)
    await store.append('log', 'w')
  }
  await using store = await open({ directory, environment: clock })
  // Of the 200 s since it was taken.
  const rest = 41_000 + clockAllowanceMs
  clock.advance(rest + hearingMs - 1)
  const { seq } = await store.commit(guarded)
  clock.advance(1)
  await store.root({ waitSeq: seq + 1 })
  expect(await refusal(store.commit(guarded))).toMatchObject({ code: 'ECONFLICT' })
  await store.commit({ ops: [take] })
  // The log counts from its last append; the other key from its put.
  clock.advance(500_000 - rest - hearingMs - 1)
  await store.commit({ ops: [] })
  expect(await store.get('log')).toBeDefined()
  clock.advance(1)
  await expect.poll(() => store.get('log')).toBeUndefined()
  expect(await store.get('long')).toBeDefined()
  clock.advance(1_000_000)
  await expect.poll(() => store.get('long')).toBeUndefined()
}, 30_000)
