/** Lists of jobs: by state, by name, page by page (rfc/11, rule 15). */

import { expect, test } from 'vitest'
import type { JobFilter, JobView } from '../../src/api/job.js'
import { codeOf, Harness } from './harness.js'

async function some(jobs: Harness): Promise<{ readonly [name: string]: JobView }> {
  const ok = await jobs.run(['true'], { name: 'build' })
  const failed = await jobs.runShell('exit 3', { name: 'build' })
  const killed = await jobs.runShell('kill -9 $$')
  const running = await jobs.shell('exec sleep 100', { name: 'build' })
  for (const live = jobs.runner.live(running.id); live && live.view.state !== 'running'; ) {
    await live.changed.wait(live.changed.count)
  }
  const waiting = await jobs.shell('true')
  return { ok, failed, killed, running, waiting }
}

test('a list has the states and the name that it is asked for, newest first', async () => {
  await using jobs = await Harness.open({ runningMax: 1 })
  const named = await some(jobs)
  const list = async (states?: JobFilter[], name?: string) => {
    const asked = { ...(states && { states }), ...(name !== undefined && { name }) }
    const { jobs: found, more } = await jobs.runner.list(asked)
    expect(more).toBe(false)
    return found.map(({ id }) => Object.keys(named).find((each) => named[each]?.id === id))
  }
  expect(await list()).toEqual(['waiting', 'running', 'killed', 'failed', 'ok'])
  expect(await list(['failed'])).toEqual(['killed', 'failed'])
  expect(await list(['finished'])).toEqual(['killed', 'failed', 'ok'])
  expect(await list(['submitted', 'running'])).toEqual(['waiting', 'running'])
  expect(await list(['running', 'failed'])).toEqual(['running', 'killed', 'failed'])
  expect(await list(['lost'])).toEqual([])
  expect(await list(undefined, 'build')).toEqual(['running', 'failed', 'ok'])
  expect(await list(['running'], 'build')).toEqual(['running'])
  expect(await list(['submitted'], 'build')).toEqual([])
  for (const states of [[], ['nope']]) {
    expect(await codeOf(jobs.runner.list({ states: states as JobFilter[] }))).toBe('EINVAL')
  }
})

test('pages go on where the last one ended, and say how many jobs there are', async () => {
  await using jobs = await Harness.open({ runningMax: 1 })
  const all = Object.values(await some(jobs)).map(({ id }) => id)
  for (const states of [undefined, ['failed', 'running'], ['submitted', 'running']]) {
    const asked = states && { states: states as JobFilter[] }
    const whole = (await jobs.runner.list(asked)).jobs.map(({ id }) => id)
    const found: string[] = []
    for (let after: string | undefined; ; ) {
      const page = await jobs.runner.list({ ...asked, limit: 1, ...(after && { after }) })
      expect(page.jobs.length).toBeLessThanOrEqual(1)
      expect(page.total).toBe(all.length)
      expect(page.size).toBe((await jobs.kvs.stat('', { namespace: 'jobs' }))?.size)
      expect(page.more).toBe(page.next !== undefined)
      found.push(...page.jobs.map(({ id }) => id))
      after = page.next
      if (after === undefined) break
    }
    expect(found).toEqual(whole)
  }
})
