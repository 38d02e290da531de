/** A server that is killed: the next one finds its jobs lost, and ends what they left running. */

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { deferred } from '../../src/base/deferred.js'
import { readEvents } from '../../src/eventlog/eventlog.js'
import { readStream } from '../../src/eventlog/read-stream.js'
import { decodeOutput } from '../../src/eventlog/stdio.js'
import { open } from '../../src/open.js'
import { bundledPrograms } from '../support/programs.js'
import { collect } from './harness.js'

const scope = { namespace: 'jobs' }
const programs = bundledPrograms({ child: 'test/job/crash-child.ts' })

test('after kill -9 unfinished jobs are lost, survivors ended, finished jobs untouched', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-test-'))
  const calls = createServer().listen(join(directory, 'call'))
  try {
    const survivors: Socket[] = []
    const called = deferred<void>()
    calls.on('connection', (survivor) => {
      if (survivors.push(survivor) === 2) called.resolve()
    })
    const child = fork(programs.child, [join(directory, 'data'), join(directory, 'call')], {
      execArgv: [],
    })
    const [ids] = (await once(child, 'message')) as [
      { done: string; running: string; waiting: string },
    ]
    await called.promise
    const gone = survivors.map((survivor) => once(survivor.on('error', () => {}).resume(), 'close'))
    child.kill('SIGKILL')
    await once(child, 'exit')

    await using store = await open({ directory: join(directory, 'data') })
    await Promise.all(gone)
    expect(await store.jobs.show(ids.done)).toMatchObject({ state: 'finished', status: 3 })
    const message = 'the server stopped while the job ran'
    for (const id of [ids.running, ids.waiting]) {
      const view = await store.jobs.wait(id)
      expect(view).toMatchObject({ state: 'lost', exception: { type: 'lost', message } })
      expect(await store.stat(`active/${id}`, scope)).toBeUndefined()
      expect((await store.stat(`${id}/output`, scope))?.sealed).toBe(true)
      expect((await store.stat(`${id}/events`, scope))?.sealed).toBe(true)
    }
    const names = async (id: string) =>
      (await collect(readEvents(store, `${id}/events`, scope))).map((event) => event.name)
    expect(await names(ids.running)).toEqual(['submit', 'start', 'exception', 'finish'])
    expect(await names(ids.waiting)).toEqual(['submit', 'exception', 'finish'])
    const text = Buffer.concat(await collect(readStream(store, ids.running, 'stdout')))
    expect(text.toString()).toBe('begun\nbegun\n')
    const output = await store.read(`${ids.running}/output`, scope)
    const events = (await collect(output?.chunks ?? [])).flatMap(decodeOutput)
    expect(events.filter((event) => event.type === 'eof')).toMatchObject([
      { stream: 'stdout', reason: 'lost', offsets: { stdout: 12, stderr: 0 } },
      { stream: 'stderr', reason: 'lost' },
    ])
    expect((await store.jobs.list()).jobs.map((job) => [job.id, job.state])).toEqual([
      [ids.waiting, 'lost'],
      [ids.running, 'lost'],
      [ids.done, 'finished'],
    ])
    const next = await store.jobs.submit({ command: ['true'], cwd: '/', env: {} })
    expect(next.id > ids.waiting).toBe(true)
    await store.jobs.wait(next.id)
  } finally {
    calls.close()
    await rm(directory, { recursive: true })
  }
})
