/** What a job leaves in its process group: ended with it, unless it is to stay. */

import { expect, test } from 'vitest'
import { isDefunct, processStart } from '../../src/base/processes.js'
import { readStream } from '../../src/eventlog/read-stream.js'
import { codeOf, Harness } from './harness.js'

/** Prints the pid of what it leaves, which holds no pipe of the job's. */
const leave = (script: string, last: string) =>
  `sh -c '${script}' >/dev/null 2>&1 </dev/null & echo $!; ${last}`

const lives = (pid: number) => processStart(pid) !== undefined && !isDefunct(pid)

async function leaver(jobs: Harness, script: string, last: string, keepChildren = false) {
  const job = await jobs.shell(leave(script, last), { keepChildren })
  let text = ''
  for await (const chunk of readStream(jobs.kvs, job.id, 'stdout', { follow: true })) {
    text += Buffer.from(chunk).toString()
    if (text.endsWith('\n')) break
  }
  return { id: job.id, pid: Number(text) }
}

test('a child in the background ends with the job', async () => {
  await using jobs = await Harness.open()
  const { id, pid } = await leaver(jobs, 'sleep 100', 'exit 3')
  expect(await jobs.runner.wait(id)).toMatchObject({ state: 'finished', status: 3 })
  await expect.poll(() => lives(pid)).toBe(false)
  expect(await codeOf(jobs.runner.signal(id, 'SIGTERM'))).toBe('ECONFLICT')
})

test('one that ignores SIGTERM is killed after killMs, and the job has finished before', async () => {
  await using jobs = await Harness.open({ killMs: 300 })
  const { id, pid } = await leaver(jobs, 'trap "" TERM; while :; do sleep 100; done', 'sleep 0.2')
  await jobs.runner.wait(id)
  await expect.poll(() => lives(pid)).toBe(false)
})

test('a server that stops ends what is left of a group whose leader has gone, and waits for it', async () => {
  const jobs = await Harness.open({ killMs: 300 })
  const { pid } = await leaver(jobs, 'trap "" TERM; while :; do sleep 100; done', 'exec sleep 100')
  expect(lives(pid)).toBe(true)
  await jobs[Symbol.asyncDispose]()
  await expect.poll(() => lives(pid)).toBe(false)
})

test('with keepChildren it goes on, and is no reason for the server to wait', async () => {
  await using jobs = await Harness.open()
  const { id, pid } = await leaver(jobs, 'sleep 100', 'exit 3', true)
  await jobs.runner.wait(id)
  await jobs.runner[Symbol.asyncDispose]()
  expect(lives(pid)).toBe(true)
  process.kill(pid, 'SIGKILL')
  const spec = await jobs.kvs.get(`${id}/spec`, { namespace: 'jobs' })
  expect(JSON.parse(Buffer.from(spec ?? []).toString())).toMatchObject({ keepChildren: true })
})

test('kill() ends the groups of all jobs at once', async () => {
  await using jobs = await Harness.open()
  const { id, pid } = await leaver(jobs, 'trap "" TERM; while :; do sleep 100; done', 'sleep 100')
  jobs.runner.kill()
  expect((await jobs.runner.wait(id)).signal).toBe('SIGKILL')
  await expect.poll(() => lives(pid)).toBe(false)
})
