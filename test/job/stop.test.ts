/** A server that stops ends its jobs, and they say so. */

import { expect, test } from 'vitest'
import { exitCodeOf } from '../../src/job/state.js'
import { codeOf, Harness } from './harness.js'

test('waiting and running jobs are ended, durably, before the stop is over', async () => {
  await using jobs = await Harness.open({ runningMax: 1 })
  const running = await jobs.shell('echo begun; exec sleep 60')
  const waiting = await jobs.shell('echo never')
  await jobs.shows(running.id, 'begun\n')
  const wait = jobs.runner.wait(running.id)
  await jobs.runner[Symbol.asyncDispose]()
  expect(await wait).toMatchObject({ state: 'finished', signal: 'SIGTERM' })
  for (const { id } of [running, waiting]) {
    const view = await jobs.runner.show(id)
    expect(view).toMatchObject({ signal: 'SIGTERM', exception: { type: 'server-stop' } })
    expect(await jobs.isClosed(id)).toBe(true)
  }
  expect(await jobs.names(running.id)).toEqual(['submit', 'start', 'exception', 'finish'])
  expect(await jobs.names(waiting.id)).toEqual(['submit', 'exception', 'finish'])
  expect(await jobs.text(running.id)).toBe('begun\n')
  expect(await codeOf(jobs.submit(['true']))).toBe('ECLOSED')
})

test('a job that ends well on SIGTERM keeps its last words and its status', async () => {
  await using jobs = await Harness.open()
  // The shell itself waits: a child that it has just forked, and that has its handler still, would
  // swallow the signal.
  const job = await jobs.shell("trap 'echo bye; exit 7' TERM; echo ready; while :; do :; done")
  await jobs.shows(job.id, 'ready\n')
  await jobs.runner[Symbol.asyncDispose]()
  const view = await jobs.runner.show(job.id)
  expect(view).toMatchObject({ status: 7, exception: { type: 'server-stop' } })
  expect(await jobs.text(job.id)).toBe('ready\nbye\n')
})

test('a job that will not end is killed after a bound', async () => {
  await using jobs = await Harness.open({ killMs: 50 })
  const job = await jobs.shell("trap '' TERM; echo ready; while :; do sleep 60; done")
  await jobs.shows(job.id, 'ready\n')
  await jobs.runner[Symbol.asyncDispose]()
  expect((await jobs.runner.show(job.id)).signal).toBe('SIGKILL')
})

test('jobs that are submitted while the server stops are ended or refused', async () => {
  await using jobs = await Harness.open()
  const submits = Array.from({ length: 20 }, () => jobs.submit(['sleep', '60']))
  await jobs.runner[Symbol.asyncDispose]()
  for (const submit of submits) {
    const { id } = await submit
    expect(await jobs.runner.show(id)).toMatchObject({ exception: { type: 'server-stop' } })
    expect(await jobs.isClosed(id)).toBe(true)
  }
})

test('nothing is left of a runner that was disposed twice', async () => {
  const jobs = await Harness.open()
  await jobs.run(['true'])
  await jobs[Symbol.asyncDispose]()
  await jobs[Symbol.asyncDispose]()
  expect([jobs.runner.running, jobs.runner.waiting]).toEqual([0, 0])
})

test('a job that runs for longer than its time limit is ended, and says so', async () => {
  await using jobs = await Harness.open({ killMs: 50 })
  const script = "trap '' TERM; echo begun; while :; do :; done"
  const view = await jobs.runShell(script, { timeLimitMs: 100, name: 'too slow' })
  expect(view).toMatchObject({
    signal: 'SIGKILL',
    exception: { type: 'timeout' },
    name: 'too slow',
  })
  expect(exitCodeOf(view)).toBe(124)
  expect(await jobs.names(view.id)).toEqual(['submit', 'start', 'exception', 'finish'])
  expect((await jobs.runner.list()).jobs).toEqual([view])
  const inTime = await jobs.runShell('exit 3', { timeLimitMs: 60_000 })
  expect(inTime.status).toBe(3)
  expect(inTime.exception).toBeUndefined()
})
