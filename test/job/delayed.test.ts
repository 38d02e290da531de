/** Jobs that begin at a time: rfc/11. */

import { describe, expect, it } from 'vitest'
import { startAheadMsMax } from '../../src/api/job.js'
import { Delayed } from '../../src/job/delayed.js'
import { TestClock } from '../clock.js'
import { Harness } from './harness.js'

describe('a job that waits for its time', () => {
  it('begins then, in the order of the times, with one timer', () => {
    const clock = new TestClock()
    const due: string[] = []
    const delayed = new Delayed<string>(clock, (id, job) => due.push(`${id} ${job}`))
    delayed.add('a', clock.now() + 3_000, 'late')
    delayed.add('b', clock.now() + 1_000, 'soon')
    delayed.add('c', clock.now() + 2_000, 'taken out')
    expect(clock.timers).toBe(1)
    expect([delayed.remove('c'), delayed.remove('c')]).toEqual([true, false])
    clock.advance(999)
    expect(due).toEqual([])
    clock.advance(1)
    expect(due).toEqual(['b soon'])
    clock.advance(2_000)
    expect(due).toEqual(['b soon', 'a late'])
    expect([clock.timers, delayed.size]).toEqual([0, 0])
  })

  it('begins soon after the wall clock was set past its time', () => {
    const clock = new TestClock()
    const due: string[] = []
    const delayed = new Delayed<string>(clock, (id) => due.push(id))
    delayed.add('a', clock.now() + 24 * 3_600_000, '')
    clock.setForward(24 * 3_600_000)
    clock.advance(10 * 60_000)
    expect(due).toEqual(['a'])
  })

  it('waits, is listed, can be signalled, and ends with its server', async () => {
    const harness = await Harness.open()
    const { runner } = harness
    const submission = { command: ['true'], cwd: '/', env: {}, startAt: Date.now() + 3_600_000 }
    const first = await runner.submit(submission)
    const second = await runner.submit(submission)
    expect(first.state).toBe('submitted')
    expect([runner.running, runner.waiting]).toEqual([0, 2])
    await runner.signal(first.id, 'SIGTERM')
    expect(await runner.wait(first.id)).toMatchObject({ state: 'finished', signal: 'SIGTERM' })
    await runner[Symbol.asyncDispose]()
    expect(await (await harness.reopen()).show(second.id)).toMatchObject({
      state: 'finished',
      exception: { type: 'server-stop' },
    })
    await harness[Symbol.asyncDispose]()
  })

  it('runs at once where the time has passed, and is refused too far ahead', async () => {
    await using harness = await Harness.open()
    const submission = { command: ['true'], cwd: '/', env: { PATH: '/usr/bin:/bin' } }
    const { id } = await harness.runner.submit({ ...submission, startAt: Date.now() - 1 })
    expect(await harness.runner.wait(id)).toMatchObject({ state: 'finished', status: 0 })
    const soon = await harness.runner.submit({ ...submission, startAt: Date.now() + 50 })
    expect(await harness.runner.wait(soon.id)).toMatchObject({ state: 'finished', status: 0 })
    const far = { ...submission, startAt: Date.now() + startAheadMsMax + 60_000 }
    await expect(harness.runner.submit(far)).rejects.toMatchObject({ code: 'EINVAL' })
    await expect(harness.runner.submit({ ...submission, startAt: -1 })).rejects.toMatchObject({
      code: 'EINVAL',
    })
  })
})
