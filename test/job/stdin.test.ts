/** stdin: at the pace of the process, to its end, and never in the way of it. */

import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { deferred } from '../../src/base/deferred.js'
import { codeOf, Harness } from './harness.js'

async function* of(...chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks
}

test('all bytes reach the process, and their end is its end of file', async () => {
  await using jobs = await Harness.open()
  const job = await jobs.submit(['cat'], { stdin: true })
  const chunks = [randomBytes(5), randomBytes(2_000_000), new Uint8Array(0), randomBytes(100_000)]
  await jobs.runner.stdin(job.id, of(...chunks))
  expect((await jobs.runner.wait(job.id)).status).toBe(0)
  expect(Buffer.compare(await jobs.bytes(job.id), Buffer.concat(chunks))).toBe(0)
})

test('the source is asked no faster than the process reads', async () => {
  await using jobs = await Harness.open()
  const job = await jobs.shell('read line; echo "$line"; exec sleep 60', { stdin: true })
  let given = 0
  const endless = async function* () {
    yield Buffer.from('go\n')
    for (;;) {
      given++
      yield Buffer.alloc(65_536)
    }
  }
  const writing = jobs.runner.stdin(job.id, endless())
  await jobs.shows(job.id, 'go\n')
  expect(given).toBeLessThan(20)
  await jobs.runner.signal(job.id, 'SIGKILL')
  await writing
  expect((await jobs.runner.wait(job.id)).signal).toBe('SIGKILL')
  expect(given).toBeLessThan(20)
})

test('a process that reads no more ends the writing, also of an idle source', async () => {
  await using jobs = await Harness.open()
  const done = deferred<void>()
  const idle = async function* (): AsyncGenerator<Uint8Array> {
    await done.promise
    yield Buffer.from('too late')
  }
  const first = await jobs.submit(['true'], { stdin: true })
  await jobs.runner.stdin(first.id, idle())
  const second = await jobs.submit(['true'], { stdin: true })
  await jobs.runner.stdin(second.id, of(Buffer.alloc(3_000_000)))
  expect((await jobs.runner.wait(second.id)).status).toBe(0)
  done.resolve()
})

test('without stdin a process reads an empty one, and nobody may write', async () => {
  await using jobs = await Harness.open()
  const job = await jobs.run(['cat'])
  expect(job.status).toBe(0)
  const other = await jobs.submit(['sleep', '60'])
  expect(await codeOf(jobs.runner.stdin(other.id, of()))).toBe('ECONFLICT')
  await jobs.runner.signal(other.id, 'SIGKILL')
})

test('stdin has one writer; canceled, it ends there', async () => {
  await using jobs = await Harness.open()
  const job = await jobs.submit(['cat'], { stdin: true })
  const end = new AbortController()
  const started = deferred<void>()
  const source = async function* () {
    yield Buffer.from('some')
    started.resolve()
    await deferred<void>().promise
  }
  const writing = codeOf(jobs.runner.stdin(job.id, source(), end.signal))
  expect(await codeOf(jobs.runner.stdin(job.id, of()))).toBe('ECONFLICT')
  await started.promise
  end.abort()
  expect(await writing).toBe('ECANCELED')
  expect((await jobs.runner.wait(job.id)).status).toBe(0)
  expect(await jobs.text(job.id)).toBe('some')
})

test('a source that fails is its error, and the end of file', async () => {
  await using jobs = await Harness.open()
  const job = await jobs.submit(['cat'], { stdin: true })
  const source = async function* () {
    yield Buffer.from('some')
    throw Object.assign(new Error('gone'), { code: 'EGONE' })
  }
  expect(await codeOf(jobs.runner.stdin(job.id, source()))).toBe('EGONE')
  expect((await jobs.runner.wait(job.id)).status).toBe(0)
  expect(await jobs.text(job.id)).toBe('some')
})
