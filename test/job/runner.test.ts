/** Jobs from submit to finish: states, ends, errors, the queue, signals. */

import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { getPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type JobView, nestingMax } from '../../src/api/job.js'
import { readLimits } from '../../src/base/limits.js'
import { isJobId } from '../../src/job/ids.js'
import { yieldedLevels } from '../../src/job/process.js'
import { codeOf, Harness } from './harness.js'

const unknownId = 'f000000000000'
/** See autogroup(7). */
const sessionFile = '/proc/self/autogroup'
const session = existsSync(sessionFile) ? readFileSync(sessionFile, 'utf8') : ''
const sessionNice = /nice (-?[0-9]+)/.exec(session)?.[1]

test.each([
  ['true', { status: 0 }],
  ['exit 3', { status: 3 }],
  ['kill -KILL $$', { signal: 'SIGKILL' }],
])('a job that does `%s` finishes with %j', async (script, exit) => {
  await using jobs = await Harness.open()
  const submitted = await jobs.shell(script)
  expect(submitted).toMatchObject({ state: 'submitted', command: ['sh', '-c', script], cwd: '/' })
  const view = await jobs.runner.wait(submitted.id)
  expect(view).toMatchObject({ state: 'finished', ...exit })
  expect(view.exception).toBeUndefined()
  expect('status' in view && 'signal' in view).toBe(false)
  expect(view.pid).toBeGreaterThan(1)
  expect(await jobs.names(view.id)).toEqual(['submit', 'start', 'finish'])
  expect((await jobs.events(view.id)).at(-1)?.context).toEqual(exit)
  expect(await jobs.isClosed(view.id)).toBe(true)
  expect(await jobs.runner.show(view.id)).toEqual(view)
})

test('the process has the directory and the environment of the submission, and no other', async () => {
  await using jobs = await Harness.open()
  const env = { PATH: process.env['PATH'] ?? '', A: 'a', B: 'b' }
  const view = await jobs.run(['env'], { env, set: { B: 'set', __proto__x: 'x' }, cwd: '/usr' })
  const lines = (await jobs.text(view.id)).trim().split('\n')
  const { incarnation } = await jobs.kvs.root({ namespace: 'jobs' })
  const marks = [`TAILRACE_JOB=${view.id}`, `TAILRACE_JOB_STORE=${incarnation}`]
  expect(lines.sort()).toEqual(
    ['A=a', 'B=set', `PATH=${env.PATH}`, '__proto__x=x', ...marks].sort(),
  )
  const where = await jobs.run(['pwd'], { cwd: '/usr' })
  expect(await jobs.text(where.id)).toBe('/usr\n')
  const spec = await jobs.kvs.get(`${view.id}/spec`, { namespace: 'jobs' })
  expect(JSON.parse(Buffer.from(spec ?? []).toString())).toEqual({
    version: 1,
    command: ['env'],
    cwd: '/usr',
    envNames: ['A', 'B', 'PATH'],
    set: { B: 'set', __proto__x: 'x' },
    stdin: false,
  })
})

test('what cannot be run is a finished job that says why', async () => {
  await using jobs = await Harness.open()
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-test-'))
  try {
    const file = join(directory, 'plain')
    await writeFile(file, 'not a program', { mode: 0o644 })
    const cases: [JobView, number, RegExp][] = [
      [await jobs.run(['no-such-program']), 127, /no-such-program: command not found/],
      [await jobs.run([file]), 126, /permission denied/],
      [await jobs.run([directory]), 126, /permission denied/],
      [
        await jobs.run(['true'], { cwd: join(directory, 'gone') }),
        127,
        /gone cannot be used: ENOENT/,
      ],
      [await jobs.run(['true'], { cwd: file }), 127, /plain is not a directory/],
    ]
    for (const [view, status, message] of cases) {
      expect(view).toMatchObject({ state: 'finished', status, exception: { type: 'exec' } })
      expect(view.exception?.message).toMatch(message)
      expect(await jobs.names(view.id)).toEqual(['submit', 'exception', 'finish'])
      expect((await jobs.output(view.id)).map((event) => event.type)).toEqual([
        'header',
        'eof',
        'eof',
      ])
      expect(await jobs.isClosed(view.id)).toBe(true)
    }
  } finally {
    await rm(directory, { recursive: true })
  }
})

test('jobs run in the order of their submits, runningMax at once', async () => {
  await using jobs = await Harness.open({ runningMax: 1 })
  const gate = await jobs.submit(['cat'], { stdin: true })
  const next = await Promise.all(['a', 'b', 'c', 'd'].map((name) => jobs.shell(`echo ${name}`)))
  expect([...next].map((job) => job.id).sort()).toEqual(next.map((job) => job.id))
  expect([jobs.runner.running, jobs.runner.waiting]).toEqual([1, 4])
  expect((await jobs.runner.show(next[0]?.id ?? '')).state).toBe('submitted')
  await jobs.runner.stdin(gate.id, (async function* () {})())
  const ended = await Promise.all(next.map((job) => jobs.runner.wait(job.id)))
  for (const [index, view] of ended.entries()) {
    const before = ended[index - 1]
    if (before) expect(view.started).toBeGreaterThanOrEqual(before.finished ?? Number.NaN)
  }
  while (jobs.runner.running > 0) await jobs.runner.changed.wait(jobs.runner.changed.count)
  expect([jobs.runner.running, jobs.runner.waiting]).toEqual([0, 0])
})

test('a signal reaches the whole group, and the output until then is kept', async () => {
  await using jobs = await Harness.open()
  // The shell itself waits: a child that it has just forked, and that has its handler still, would
  // swallow the signal.
  const inner = "trap 'echo inner got it; exit 5' INT; echo ready; while :; do :; done"
  const job = await jobs.shell(`sh -c "${inner}"; true`)
  await jobs.shows(job.id, 'ready\n')
  await jobs.runner.signal(job.id, 'SIGINT')
  expect(await jobs.runner.wait(job.id)).toMatchObject({ state: 'finished', signal: 'SIGINT' })
  expect(await jobs.text(job.id)).toBe('ready\ninner got it\n')
})

test('a waiting job is finished by a signal and never runs', async () => {
  await using jobs = await Harness.open({ runningMax: 1 })
  const gate = await jobs.submit(['sleep', '60'])
  const job = await jobs.shell('echo ran')
  await jobs.runner.signal(job.id, 'SIGUSR1')
  const view = await jobs.runner.wait(job.id)
  expect(view).toMatchObject({ state: 'finished', signal: 'SIGUSR1' })
  expect(view.started).toBeUndefined()
  expect(await jobs.names(job.id)).toEqual(['submit', 'finish'])
  expect(await jobs.isClosed(job.id)).toBe(true)
  expect(jobs.runner.waiting).toBe(0)
  await jobs.runner.signal(gate.id, 'SIGKILL')
  expect((await jobs.runner.wait(gate.id)).signal).toBe('SIGKILL')
})

test('a job that was signaled before its process was there still gets the signal', async () => {
  await using jobs = await Harness.open()
  const job = await jobs.submit(['sleep', '60'])
  await jobs.runner.signal(job.id, 'SIGTERM')
  expect((await jobs.runner.wait(job.id)).signal).toBe('SIGTERM')
})

test('list() is newest first, in pages, and the same as show()', async () => {
  await using jobs = await Harness.open()
  const ids: string[] = []
  for (let count = 0; count < 5; count++) ids.unshift((await jobs.run(['true'])).id)
  const running = await jobs.submit(['sleep', '60'])
  ids.unshift(running.id)
  expect(ids.every(isJobId)).toBe(true)
  const first = await jobs.runner.list({ limit: 2 })
  expect(first.jobs.map((job) => job.id)).toEqual(ids.slice(0, 2))
  expect(first.more).toBe(true)
  const rest = await jobs.runner.list({ after: ids[1] ?? '' })
  expect(rest.jobs.map((job) => job.id)).toEqual(ids.slice(2))
  expect(rest.more).toBe(false)
  for (const view of rest.jobs) expect(await jobs.runner.show(view.id)).toEqual(view)
  expect(await jobs.runner.list({ after: ids.at(-1) ?? '' })).toMatchObject({
    jobs: [],
    more: false,
  })
  expect(await codeOf(jobs.runner.list({ limit: 0 }))).toBe('EINVAL')
  expect(await codeOf(jobs.runner.list({ limit: 1_001 }))).toBe('EINVAL')
  expect((await jobs.runner.list({ limit: 1_000 })).more).toBe(false)
  expect(await codeOf(jobs.runner.list({ after: 'x' }))).toBe('EINVAL')
})

test('an empty store lists nothing', async () => {
  await using jobs = await Harness.open()
  expect(await jobs.runner.list()).toEqual({ jobs: [], more: false, total: 0, size: 0 })
})

test('what is asked of no job, of a finished one, or wrongly, is refused by code', async () => {
  await using jobs = await Harness.open()
  const { runner } = jobs
  const { id } = await jobs.run(['true'])
  const none = (async function* () {})()
  for (const other of [unknownId, 'active', '../x', '']) {
    expect(await codeOf(runner.show(other))).toBe('ENOENT')
    expect(await codeOf(runner.wait(other))).toBe('ENOENT')
    expect(await codeOf(runner.signal(other, 'SIGINT'))).toBe('ENOENT')
    expect(await codeOf(runner.stdin(other, none))).toBe('ENOENT')
  }
  expect(await codeOf(runner.signal(id, 'SIGNONE'))).toBe('EINVAL')
  expect(await codeOf(runner.signal(id, 'toString'))).toBe('EINVAL')
  expect(await codeOf(runner.signal(id, 'SIGINT'))).toBe('ECONFLICT')
  expect(await codeOf(runner.stdin(id, none))).toBe('ECONFLICT')
  expect(await codeOf(jobs.submit([]))).toBe('EINVAL')
  expect(await codeOf(jobs.submit(['x'.repeat(200_000)]))).toBe('E2BIG')
})

test('wait() ends with its signal, and the job goes on', async () => {
  await using jobs = await Harness.open()
  const job = await jobs.submit(['cat'], { stdin: true })
  const end = new AbortController()
  const waiting = codeOf(jobs.runner.wait(job.id, end.signal))
  end.abort()
  expect(await waiting).toBe('ECANCELED')
  await jobs.runner.stdin(job.id, (async function* () {})())
  expect((await jobs.runner.wait(job.id)).status).toBe(0)
})

// Only Linux with autogroups shares the processor out between sessions.
test.runIf(sessionNice !== undefined)(
  'the session of a job that goes on yields to that of the server',
  async () => {
    await using jobs = await Harness.open()
    const yielding = `nice ${Math.min(19, Number(sessionNice) + yieldedLevels)}`
    // It ends as soon as it yields.
    const look = `grep -q '${yielding}$' ${sessionFile} && exit`
    const view = await jobs.runShell(`for n in $(seq 500); do ${look}; sleep 0.02; done; exit 1`)
    expect(view.status).toBe(0)
    expect(readFileSync(sessionFile, 'utf8')).toBe(session)
  },
)

test('umask, soft limits and niceness are those of the submission, and the server keeps its own', async () => {
  await using jobs = await Harness.open()
  const before = [process.umask(), getPriority(), readLimits('self')]
  const script = 'umask; ulimit -S -n; ulimit -S -c; ulimit -S -s; nice; env'
  const env = { PATH: process.env['PATH'] ?? '/usr/bin:/bin', 'odd.name': 'x' }
  const nice = getPriority() + 3
  const limits = { nofile: 100, core: 0, stack: 4 * 1024 * 1024 } as const
  const view = await jobs.runShell(script, { umask: 0o027, nice, limits, env })
  const lines = (await jobs.text(view.id)).split('\n')
  expect(lines.slice(0, 5)).toEqual(['0027', '100', '0', '4096', String(nice)])
  // The launcher leaves the environment alone. (A shell that prints it drops the odd name.)
  const printed = await jobs.run(['env'], { umask: 0o027, nice, limits, env })
  const variables = (await jobs.text(printed.id)).trim().split('\n')
  expect(variables.filter((variable) => !variable.startsWith('TAILRACE_')).sort()).toEqual(
    [`PATH=${env.PATH}`, 'odd.name=x'].sort(),
  )
  expect(await jobs.names(view.id)).toEqual(['submit', 'start', 'finish'])
  expect([process.umask(), getPriority(), readLimits('self')]).toEqual(before)
})

test('a limit that the server may not raise is its hard one, and the events say so', async () => {
  await using jobs = await Harness.open()
  const hard = readLimits('self')?.hard.nofile
  const view = await jobs.runShell('ulimit -S -n', { limits: { nofile: 'unlimited' } })
  expect(await jobs.text(view.id)).toBe(`${hard}\n`)
  expect(view.exception).toBeUndefined()
  expect(await jobs.names(view.id)).toEqual(['submit', 'start', 'exception', 'finish'])
  const told = (await jobs.events(view.id))[2]?.context
  expect(told).toMatchObject({ type: 'limits', severity: 1 })
  expect(told?.['message']).toContain(`nofile is ${hard}, not unlimited`)
})

test('with limits, too, what cannot be run says why', async () => {
  await using jobs = await Harness.open()
  const limits = { nofile: 100 }
  expect(await jobs.run(['no-such-program'], { limits })).toMatchObject({
    status: 127,
    exception: { type: 'exec', message: 'no-such-program: command not found' },
  })
  expect(await jobs.run(['/'], { limits })).toMatchObject({
    status: 126,
    exception: { type: 'exec' },
  })
})

test('arguments and environment are as large as the system takes, and what it refuses says so', async () => {
  await using jobs = await Harness.open()
  const path = process.env['PATH'] ?? '/usr/bin:/bin'
  const env = { PATH: path, X: 'x'.repeat(100_000), Y: 'y'.repeat(130_000) }
  const view = await jobs.runShell('printenv X | wc -c; printenv Y | wc -c', { env })
  expect(await jobs.text(view.id)).toBe('100001\n130001\n')
  const words = Array.from({ length: 40_000 }, (_, index) => String(index))
  const echo = await jobs.run(['sh', '-c', 'echo $#', 'sh', ...words])
  expect(await jobs.text(echo.id)).toBe('40000\n')
  // Pointers count for the system, not for us.
  const tooMany = await jobs.run(['true', ...Array.from({ length: 400_000 }, () => 'abc')])
  expect(tooMany).toMatchObject({ status: 126, exception: { type: 'exec' } })
  expect(tooMany.exception?.message).toMatch(/E2BIG: command and environment are larger/)
})

test('a job waits for its child where only one may run, and for no more than nestingMax in each other', async () => {
  await using jobs = await Harness.open({ runningMax: 1 })
  const ids = [(await jobs.submit(['sleep', '60'])).id]
  for (let depth = 1; depth < nestingMax; depth++) {
    ids.push((await jobs.submit(['sleep', '60'], { parent: ids.at(-1) ?? '' })).id)
  }
  expect([jobs.runner.running, jobs.runner.waiting]).toEqual([nestingMax, 0])
  const deepest = ids.at(-1) ?? ''
  expect(await codeOf(jobs.submit(['true'], { parent: deepest }))).toBe('EBUSY')
  const second = await jobs.submit(['true'], { parent: ids[0] ?? '' })
  expect(jobs.runner.waiting).toBe(1)
  await jobs.runner.signal(ids[1] ?? '', 'SIGKILL')
  expect((await jobs.runner.wait(second.id)).status).toBe(0)
})
