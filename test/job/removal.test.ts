/** Finished jobs that are removed, pruned, or not kept (rfc/11, rules 16 to 19). */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { JobView } from '../../src/api/job.js'
import { systemEnvironment } from '../../src/base/environment.js'
import { Wakeup } from '../../src/base/wakeup.js'
import { followEvents } from '../../src/eventlog/eventlog.js'
import { readStream } from '../../src/eventlog/read-stream.js'
import { type EmbeddedStore, open } from '../../src/open.js'
import { storedText } from '../support/store-files.js'
import { codeOf, collect } from './harness.js'

const scope = { namespace: 'jobs' }
const env = { PATH: process.env['PATH'] ?? '/usr/bin:/bin' }

/** A wall clock that stands, and timers that ring when it is set. */
class Clock {
  readonly start = 1_700_000_000_000
  at = this.start
  readonly #set = new Wakeup()
  #timers = new Set<{ readonly at: number; readonly act: () => void }>()

  readonly environment = {
    ...systemEnvironment,
    now: () => this.at,
    timer: (ms: number, act: () => void) => {
      const timer = { at: this.at + ms, act }
      this.#timers.add(timer)
      this.#set.wake()
      return { [Symbol.dispose]: () => void this.#timers.delete(timer) }
    },
  }

  /** Resolves when there is a timer that rings so long after the start. */
  async rings(ms: number): Promise<void> {
    const isSet = () => [...this.#timers].some(({ at }) => at === this.start + ms)
    while (!isSet()) await this.#set.wait(this.#set.count)
  }

  advance(ms: number): void {
    this.at += ms
    for (const timer of [...this.#timers]) {
      if (timer.at <= this.at && this.#timers.delete(timer)) timer.act()
    }
  }
}

function start(store: EmbeddedStore, script: string, set: Record<string, string> = {}) {
  return store.jobs.submit({ command: ['sh', '-c', script], cwd: '/', env, set })
}

async function run(store: EmbeddedStore, script: string): Promise<JobView> {
  return store.jobs.wait((await start(store, script)).id)
}

async function ids(store: EmbeddedStore): Promise<string[]> {
  return (await store.jobs.list()).jobs.map(({ id }) => id)
}

/** Resolves when the jobs of the store, newest first, are these. */
async function untilKept(store: EmbeddedStore, wanted: readonly string[]): Promise<void> {
  for (let seq = 0; ; ) {
    const root = await store.root({ ...scope, waitSeq: seq })
    seq = root.seq + 1
    const kept = await ids(store)
    if (JSON.stringify(kept) === JSON.stringify(wanted)) return
  }
}

test('a removed job is nowhere: not in the list, the history or a pin, and a collection frees its bytes', async () => {
  await using store = await open({})
  const kept = await run(store, 'echo keep')
  const { id } = await store.jobs.wait(
    (await start(store, 'seq 1000; echo hunter2', { TOKEN: 'x'.repeat(1000) })).id,
  )
  const refs: string[] = []
  for (const key of [`${id}/spec`, `${id}/output`]) {
    const page = await store.treeobj(key, scope)
    if (page?.type === 'valref') refs.push(...(page.data as string[]))
  }
  expect(refs.length).toBeGreaterThan(2)
  const { seq } = await store.root(scope)
  await store.history.pin('before', scope)

  await store.jobs.remove(id)
  expect(await ids(store)).toEqual([kept.id])
  for (const act of [store.jobs.show(id), store.jobs.wait(id), store.jobs.remove(id)]) {
    expect(await codeOf(act)).toBe('ENOENT')
  }
  expect(await codeOf(collect(readStream(store, id, 'stdout')))).toBe('ENOENT')
  expect(await codeOf(store.get(`${id}/spec`, { ...scope, at: seq - 1 }))).toBe('ECOMPACTED')
  expect(await store.get(`${id}/spec`, { ...scope, at: seq })).toBeUndefined()
  expect(Buffer.concat(await collect(readStream(store, kept.id, 'stdout'))).toString()).toBe(
    'keep\n',
  )
  await store.upkeep.collect()
  for (const ref of refs) expect(await store.blobs.load(ref)).toBeUndefined()
})

test('what a removed job printed, its command and its variables are not in the files of the store after a collection', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-removal-'))
  try {
    const bytes = () => storedText(join(directory, 'store'))
    // Twice: a page that has been in use has slack.
    for (let times = 0; times < 2; times++) {
      await using store = await open({ directory })
      const script = 'echo hunter$((1 + 1))'
      const { id } = await store.jobs.wait((await start(store, script, { T: 'token7' })).id)
      for (const secret of ['hunter2', 'token7']) {
        expect(await bytes()).toContain(secret)
      }
      await store.jobs.remove(id)
      expect((await store.upkeep.collect()).overwritten).toBeGreaterThan(0)
      expect((await store.upkeep.collect()).overwritten).toBeUndefined()
      expect(await bytes()).not.toMatch(/hunter|token7/)
    }
  } finally {
    await rm(directory, { recursive: true })
  }
})

test('what a reader still had when it was removed goes with the next collection', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-removal-'))
  try {
    const bytes = () => storedText(join(directory, 'store'))
    await using store = await open({ directory })
    // Two pieces, of which the reader has the first when the job is removed.
    const script = 'seq 100000; echo hunter$((1 + 1))'
    const { id } = await store.jobs.wait((await start(store, script)).id)
    await run(store, 'true')
    await store.list('', { ...scope, limit: 1 }) // a page that another follows
    const reading = readStream(store, id, 'stdout')
    await reading.next()
    await store.jobs.remove(id)
    await store.upkeep.collect()
    const rest = Buffer.concat(await collect(reading)).toString()
    expect(rest).toMatch(/hunter2\n$/)
    expect(await bytes()).toContain('hunter2')
    expect((await store.upkeep.collect()).overwritten).toBeGreaterThan(0)
    expect(await bytes()).not.toContain('hunter')
    expect((await store.upkeep.collect()).overwritten).toBeUndefined()
  } finally {
    await rm(directory, { recursive: true })
  }
})

test('a job that waits or runs is not removed, and what was never one is not there', async () => {
  await using store = await open({ runningMax: 1 })
  const running = await start(store, 'exec sleep 100')
  const waiting = await start(store, 'true')
  expect(await codeOf(store.jobs.remove(running.id))).toBe('ECONFLICT')
  expect(await codeOf(store.jobs.remove(waiting.id, { output: true }))).toBe('ECONFLICT')
  for (const id of ['f000000000000', 'active', 'index', '']) {
    expect(await codeOf(store.jobs.remove(id))).toBe('ENOENT')
  }
  expect(await ids(store)).toEqual([waiting.id, running.id])
})

test('removing the output leaves the job and how it ended', async () => {
  await using store = await open({})
  const view = await run(store, 'echo hunter2; exit 3')
  await store.jobs.remove(view.id, { output: true })
  expect(await store.jobs.show(view.id)).toEqual(view)
  expect(await codeOf(collect(readStream(store, view.id, 'stdout')))).toBe('ENOENT')
  expect(await codeOf(store.jobs.remove(view.id, { output: true }))).toBe('ENOENT')
  await store.jobs.remove(view.id)
  expect(await ids(store)).toEqual([])
})

test('who has begun to follow a job that is removed gets all of it, who comes later ENOENT; who follows another one notices nothing', async () => {
  await using store = await open({})
  const other = await start(store, 'exec sleep 100')
  const done = await run(store, 'echo done')
  const watch = store.watch(`${done.id}/output`, { mode: 'append', ...scope })
  expect((await watch.next()).value).toMatchObject({ type: 'append', index: 0 })
  const following = collect(followEvents(store, `${other.id}/events`, scope))
  for (let count = 0; count < 5; count++) {
    const { id } = await run(store, 'echo x')
    await store.jobs.remove(id)
  }
  await store.jobs.remove(done.id)
  await store.upkeep.collect()
  await store.jobs.signal(other.id, 'SIGTERM')
  await store.jobs.wait(other.id)
  expect((await following).map(({ name }) => name)).toEqual(['submit', 'start', 'finish'])
  const rest = (await collect(watch)).map(({ type }) => type)
  expect(rest).toEqual(['append', 'append', 'live', 'end'])
  const again = store.watch(`${done.id}/output`, { mode: 'append', ...scope })
  expect(await codeOf(collect(again))).toBe('ENOENT')
})

test('pruning removes what finished long ago, and a dry run only says so', async () => {
  const clock = new Clock()
  await using store = await open({ environment: clock.environment })
  const long = await start(store, 'read line', {})
  const first = await run(store, 'true')
  clock.advance(1_000)
  const second = await run(store, 'true')
  clock.advance(1_000)
  const old = async (olderThanMs: number, dryRun: boolean) =>
    (await store.jobs.prune({ olderThanMs, dryRun })).jobs.map(({ id }) => id)
  await store.jobs.wait(long.id)
  expect(await old(2_001, true)).toEqual([])
  expect(await old(1_000, true)).toEqual(expect.arrayContaining([first.id, second.id]))
  expect(await old(2_000, false)).toEqual(expect.arrayContaining([first.id]))
  expect(await ids(store)).not.toContain(first.id)
  expect(await ids(store)).toContain(second.id)
  for (const olderThanMs of [-1, 1.5, Number.NaN]) {
    expect(await codeOf(store.jobs.prune({ olderThanMs }))).toBe('EINVAL')
  }
})

test('at most so many finished jobs are kept, and those that run count for nothing', async () => {
  await using store = await open({})
  const running = await start(store, 'exec sleep 100')
  const views = []
  for (let count = 0; count < 4; count++) views.push(await run(store, 'true'))
  const [, second, third, fourth] = views.map(({ id }) => id)
  await store.namespaces.configure('jobs', { keepJobs: 3 })
  await untilKept(store, [fourth, third, second, running.id] as string[])
  const fifth = await run(store, 'true')
  await untilKept(store, [fifth.id, fourth, third, running.id] as string[])
})

test('the oldest go above so many bytes', async () => {
  await using store = await open({})
  const large = await run(store, 'head -c 200000 /dev/zero')
  const small = await run(store, 'true')
  const newest = await run(store, 'head -c 200000 /dev/zero')
  await store.namespaces.configure('jobs', { keepJobsSize: 300_000 })
  await untilKept(store, [newest.id, small.id])
  expect(large.id < small.id).toBe(true)
})

test('a job goes when it has become old enough, and one that ran long later than one submitted after it', async () => {
  const clock = new Clock()
  await using store = await open({ environment: clock.environment })
  const long = await start(store, 'exec sleep 100')
  const short = await run(store, 'true')
  clock.advance(1_000)
  await store.jobs.signal(long.id, 'SIGKILL')
  await store.jobs.wait(long.id)
  await store.namespaces.configure('jobs', { keepJobsAgeMs: 5_000 })
  await clock.rings(5_000)
  expect(await ids(store)).toEqual([short.id, long.id])
  clock.advance(4_000)
  await untilKept(store, [long.id])
  await clock.rings(6_000)
  clock.advance(1_000)
  await untilKept(store, [])
})

test('settings of jobs mean nothing elsewhere, and null takes one away', async () => {
  await using store = await open({})
  expect(await codeOf(store.namespaces.configure('primary', { keepJobs: 1 }))).toBe('EINVAL')
  expect(await codeOf(store.namespaces.configure('jobs', { keepJobs: -1 }))).toBe('EINVAL')
  const set = { keepJobs: 10, keepJobsAgeMs: 20, keepJobsSize: 30 }
  expect(await store.namespaces.configure('jobs', set)).toMatchObject(set)
  const left = await store.namespaces.configure('jobs', { keepJobsAgeMs: null, quota: 5 })
  expect(left).toMatchObject({ keepJobs: 10, keepJobsSize: 30, quota: 5 })
  expect(left).not.toHaveProperty('keepJobsAgeMs')
})
