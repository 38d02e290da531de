/** Workers for flows: processes and threads that call functions, die, and are replaced. See rfc/25. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { text as textOf } from 'node:stream/consumers'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import type { FlowEvent, FlowRun, FlowWorkers } from '../../src/api/flow.js'
import { type Bundles, bundle } from '../support/bundle.js'
import { nativeImport } from '../support/native-import.js'

type Api = typeof import('./api.js')
type Targets = typeof import('./targets.js')

let programs: Bundles<'api' | 'targets' | 'random' | 'scheduler' | 'unread' | 'program' | 'guard'>
let api: Api
let targets: Targets
let directory: string
let workers: FlowWorkers
let threads: FlowWorkers

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-workers-'))
  process.env['TAILRACE_TEST_WORKERS'] = directory
  programs = await bundle({
    api: 'test/worker/api.ts',
    targets: 'test/worker/targets.ts',
    random: 'test/worker/random-targets.ts',
    scheduler: 'test/worker/scheduler.ts',
    unread: 'test/worker/unread.ts',
    program: 'src/worker/program.ts',
    guard: 'src/worker/guard.ts',
  })
  api = await nativeImport<Api>(programs.files.api)
  targets = await nativeImport<Targets>(programs.files.targets)
  const module = programs.files.targets
  workers = api.openWorkers({ module, processes: 2, graceMs: 200 })
  threads = api.openWorkers({ module, threads: 2, graceMs: 200, labels: ['big'] })
})
afterAll(async () => {
  await workers[Symbol.asyncDispose]()
  await threads[Symbol.asyncDispose]()
  await programs[Symbol.asyncDispose]()
  await rm(directory, { recursive: true, force: true })
  delete process.env['TAILRACE_TEST_WORKERS']
})
beforeEach(async () => {
  await rm(join(directory, 'go'), { force: true })
  await writeFile(join(directory, 'said'), '')
})

/** The lines that functions said, sorted. */
const said = () => readFileSync(join(directory, 'said'), 'utf8').trim().split('\n').sort()
const letGo = () => writeFileSync(join(directory, 'go'), '')
const isAlive = (pid: number) => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

async function eventsOf(flow: FlowRun<unknown>): Promise<readonly FlowEvent[]> {
  const events: FlowEvent[] = []
  for await (const event of flow) events.push(event)
  return events
}

describe.each([['processes', () => workers] as const, ['threads', () => threads] as const])(
  '%s',
  (_kind, own) => {
    it('give the results that functions of this process give', async () => {
      const { run } = api
      const { sum, mixed, numbers, squares, plain } = targets
      const wanted = { sum, mixed, numbers, squares, plain }
      const expected = await run(wanted).result
      expect(await run(wanted, { workers: own() }).result).toEqual(expected)
      expect(expected.mixed).toEqual([5, 0, 1, 2, 3, 4, 35, 'text', new Uint8Array([1, 2]), 5])
    })

    it('give errors with name, code, cause and stack, and those of ours as ours', async () => {
      const { run, TailraceError } = api
      const result = (name: 'fails' | 'refused' | 'primitive') =>
        run(targets[name], { workers: own() }).result.catch((error: unknown) => error)
      const failed = await result('fails')
      expect(failed).toBeInstanceOf(RangeError)
      expect(failed).toMatchObject({
        message: 'on purpose',
        code: 'EOWN',
        cause: { message: 'deep' },
      })
      expect((failed as Error).stack).toContain('targets.js')
      expect(await result('refused')).toBeInstanceOf(TailraceError)
      expect(await result('refused')).toMatchObject({ code: 'EEXIST', message: 'on purpose' })
      expect(await result('primitive')).toBe('text')
    })

    it('open an input once each, however many of their calls need it', async () => {
      const { run } = api
      const results = await run(targets.slices, { workers: own() }).result
      expect(results.map(([, , row]) => row)).toEqual(Array.from({ length: 40 }, (_, at) => at))
      const ids = new Set(results.map(([id]) => id))
      const opened = [...ids].map((id) =>
        results.filter(([own]) => own === id).map(([, many]) => many),
      )
      for (const counts of opened) expect(new Set(counts).size).toBe(1)
    })

    it('let a call that waits behind a blocked one go elsewhere', async () => {
      const { run } = api
      const { blocked, quick } = targets
      const flow = run([blocked, ...quick], { workers: own() })
      let finished = 0
      for await (const { type, target } of flow) {
        if (type === 'finish' && target.startsWith('quick')) finished++
        if (finished === quick.length) letGo()
      }
      expect((await flow.result).slice(1)).toEqual([0, 1, 2, 3, 4, 5])
      expect(said()).toEqual(['blocked'])
    })

    it('end calls by their signal, and are killed if a function does not listen', async () => {
      const { run } = api
      for (const [name, before, after] of [
        ['waitsForAbort', 'waits', ['aborted ECANCELED', 'waits']],
        ['ignoresAbort', 'ignores', ['ignores']],
      ] as const) {
        await writeFile(join(directory, 'said'), '')
        const stop = new AbortController()
        const flow = run(targets[name], { workers: own(), signal: stop.signal })
        const refused = expect(flow.result).rejects.toMatchObject({ code: 'ECANCELED' })
        await expect.poll(said).toContain(before)
        stop.abort()
        await refused
        expect(said()).toEqual(after)
      }
      expect(await run(targets.quick, { workers: own() }).result).toEqual([0, 1, 2, 3, 4, 5])
    })
  },
)

describe('a worker that is killed by others', () => {
  it('leaves no command running, and nothing of its directory', async () => {
    const { run } = api
    const stop = new AbortController()
    const { result } = run(targets.sleeps, { workers, signal: stop.signal })
    result.catch(() => {})
    const isSaid = () => said().join(' ').split(' ').filter(Boolean).map(Number)
    await expect.poll(isSaid, { timeout: 20_000 }).toHaveLength(2)
    const pids = isSaid()
    const directories = pids.map((pid) => readlinkSync(`/proc/${pid}/cwd`))
    const [worker] = workers.list().filter(({ calls }) => calls.length > 0)
    process.kill(worker?.pid ?? 0, 'SIGKILL')
    await expect.poll(() => pids.filter(isAlive), { timeout: 10_000 }).toEqual([])
    await expect.poll(() => directories.filter((path) => existsSync(path))).toEqual([])
    stop.abort()
    await expect(result).rejects.toMatchObject({ code: 'ECANCELED' })
  })
})

describe('a run with a store', () => {
  it('keeps what functions print in workers, to their output and to the console', async () => {
    const { run, runsOf, open } = api
    for (const where of [workers, threads]) {
      const store = await open()
      const { id = '', result } = run(targets.printsAll, { store, workers: where })
      await result
      let printed = ''
      for await (const { stream, data } of runsOf({ store }).output(id, 'printsAll')) {
        printed += `${stream}: ${Buffer.from(data)}`
      }
      expect(printed).toBe('stdout: logged\nstderr: given\ntold\n')
      await store.close()
    }
  })

  it('keeps what workers made, and opens nothing but what was wanted', async () => {
    const { run, open, openValues } = api
    const store = await open()
    const values = openValues()
    const first = run(targets.sizes, { store, workers, values })
    expect(await first.result).toBe(5_000)
    const made = (await eventsOf(first)).filter((event) => event.type === 'finish')
    expect(made.map(({ call }) => call?.worker)).toEqual([expect.any(Number), expect.any(Number)])
    for (const { ms, call } of made) expect(call?.runMs).toBe(ms)
    expect(values.ledger().counts.opens).toBe(1)
    const again = await eventsOf(run([targets.sizes, targets.data], { store }))
    expect(again.map(({ type }) => type)).toEqual(['hit', 'hit'])
    await store.close()
  })
})

describe('a worker that is killed', () => {
  it('at any event of a run changes no result, and no call is lost', async () => {
    const { run } = api
    const { sum, mixed, numbers } = targets
    const wanted = { sum, mixed, numbers }
    const expected = await run(wanted).result
    const count = (await eventsOf(run(wanted, { workers }))).length
    for (let killAt = 0; killAt < count; killAt += 5) {
      await writeFile(join(directory, 'said'), '')
      const flow = run(wanted, { workers })
      let events = 0
      for await (const _event of flow) {
        if (events++ !== killAt) continue
        const busy = workers.list().find(({ calls }) => calls.length > 0) ?? workers.list()[0]
        if (busy?.pid) process.kill(busy.pid, 'SIGKILL')
      }
      expect(await flow.result).toEqual(expected)
      expect(new Set(said())).toEqual(
        new Set(['numbers', 'sum', ...[0, 1, 2, 3, 4].map((at) => `square ${at}`)]),
      )
    }
  })

  it('by its call is replaced, and the call runs again', async () => {
    const { run } = api
    const flow = run(targets.deadlyOnce, { workers })
    const types = (await eventsOf(flow)).map(({ type }) => type)
    expect(types).toEqual(['start', 'lost', 'start', 'finish'])
    expect(await flow.result).toBe(2)
  })

  it('by a target three times makes that fail as poisonous, and others go on', async () => {
    const { run } = api
    const wanted = [targets.deadly, ...targets.quick]
    const flow = run(wanted, { workers, onError: 'continue', retries: 2 })
    const events = await eventsOf(flow)
    const finished = events.filter(({ type }) => type === 'finish')
    expect(finished).toHaveLength(targets.quick.length)
    await expect(flow.result).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringMatching(/target deadly is poisonous: 3 workers .* SIGKILL/),
    })
    expect(said()).toEqual(['deadly', 'deadly', 'deadly'])
  })
})

describe('modules of workers', () => {
  const refused = (message: RegExp) =>
    expect.objectContaining({ code: 'EINVAL', message: expect.stringMatching(message) })
  const module = async (name: string, text: string) => {
    const path = join(dirname(programs.files.api), `${name}.js`)
    await writeFile(path, `import { target } from './api.js'\n${text}`)
    return path
  }

  it('that differ from those of the run are refused, with both hashes and the file', async () => {
    const { run, openWorkers } = api
    const path = await module('other', "export const data = target('data', [], () => 7)")
    await using others = openWorkers({ module: path, threads: 1 })
    const error = await run(targets.data, { workers: others }).result.catch((thrown) => thrown)
    expect(error).toMatchObject({ code: 'ECONFLICT' })
    expect(error.message).toMatch(/data differs .* [0-9a-f]{64}.* [0-9a-f]{64} of .*other\.js/)
    // An equal function in another file.
    const text = "export const one = target('one', [], () => 1)"
    const here: { readonly one: never } = await nativeImport(await module('here', text))
    const there = await module('there', `${text} // another file`)
    await using differing = openWorkers({ module: there, threads: 1 })
    await expect(run(here.one, { workers: differing }).result).rejects.toMatchObject({
      code: 'ECONFLICT',
      message: expect.stringContaining('the module of target one differs'),
    })
  })

  it('are refused if they export no such target, cannot be imported, or start workers', async () => {
    const { run, openWorkers } = api
    const result = async (text: string) => {
      await using own = openWorkers({ module: await module('wrong', text), threads: 1 })
      return await run(targets.sizes, { workers: own }).result
    }
    const other = "export const one = target('one', [], () => 1)"
    await expect(result(other)).rejects.toEqual(refused(/finds no target data/))
    await expect(result('throw new Error("no module today")')).rejects.toEqual(
      refused(/no module today/),
    )
    await expect(
      result("import { openWorkers } from './api.js'\nopenWorkers({ module: import.meta.url })"),
    ).rejects.toEqual(refused(/of their own/))
    expect(() => openWorkers({ module: './nowhere.js' })).toThrow('no module ./nowhere.js')
  })
})

it('processes and threads together give the results of random flows', async () => {
  const { run, openWorkers } = api
  const module = programs.files.random
  const { random } = await nativeImport<typeof import('./random-targets.js')>(module)
  await using both = openWorkers({ module, processes: 1, threads: 1, slots: 2 })
  expect(await run(random, { workers: both }).result).toEqual(await run(random).result)
  expect(new Set(both.list().map(({ kind }) => kind))).toEqual(new Set(['process', 'thread']))
})

it('a target with a label is called by workers of that label only', async () => {
  const { run } = api
  const { large, quick } = targets
  expect(await run([large, ...quick], { workers: threads }).result).toEqual([
    'large',
    0,
    1,
    2,
    3,
    4,
    5,
  ])
  for (const options of [{ workers }, {}]) {
    await expect(run(large, options).result).rejects.toMatchObject({
      code: 'EINVAL',
      message: expect.stringContaining('the label big, and the run has none'),
    })
  }
})

it('a worker with a bound of calls is replaced by another one', async () => {
  const { run, openWorkers } = api
  const module = programs.files.targets
  await using transient = openWorkers({ module, processes: 1, callsMax: 1 })
  expect(new Set(await run(targets.pids, { workers: transient }).result).size).toBe(3)
})

it('a worker with a lifetime is replaced after it, once its calls have ended', async () => {
  const { run, openWorkers } = api
  const module = programs.files.targets
  await using transient = openWorkers({ module, processes: 1, lifetimeMs: 300 })
  const flow = run(targets.blocked, { workers: transient })
  for await (const { type } of flow) {
    if (type !== 'start') continue
    await expect.poll(said).toContain('blocked')
    await expect.poll(() => transient.list().map(({ state }) => state)).toContain('leaving')
    letGo()
  }
  const first = await flow.result
  expect(await run(targets.pids, { workers: transient }).result).not.toContain(first)
  await expect.poll(() => isAlive(first)).toBe(false)
})

it('a worker that is silent for 30 s is killed, and its call goes to another one', async () => {
  const { run, openWorkers } = api
  // The timers of this process are moved on. Workers that live say so in real time.
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  try {
    await using own = openWorkers({ module: programs.files.targets, processes: 1 })
    const flow = run(targets.blocked, { workers: own })
    let stopped = 0
    for await (const { type } of flow) {
      if (type === 'lost') letGo()
      if (type !== 'start' || stopped > 0) continue
      await expect.poll(said).toContain('blocked')
      stopped = own.list()[0]?.pid ?? 0
      process.kill(stopped, 'SIGSTOP')
      await expect
        .poll(() => {
          if (isAlive(stopped)) vi.advanceTimersByTime(10_000)
          return isAlive(stopped)
        })
        .toBe(false)
    }
    expect(await flow.result).not.toBe(stopped)
    expect(said()).toEqual(['blocked', 'blocked'])
  } finally {
    vi.useRealTimers()
  }
})

describe('a scheduler', () => {
  const start = (name: string) => {
    const { scheduler, targets: module } = programs.files
    const child = spawn(process.execPath, [scheduler, name, module])
    child.stdout.setEncoding('utf8')
    return { child, lines: createInterface(child.stdout)[Symbol.asyncIterator]() }
  }

  it('that is killed leaves no worker, not even one that never returns', async () => {
    const { child, lines } = start('ignoresAbort')
    const pids = String((await lines.next()).value)
      .split(' ')
      .map(Number)
    await expect.poll(said).toContain('ignores')
    expect(pids.map(isAlive)).toEqual([true, true])
    child.kill('SIGKILL')
    await once(child, 'close')
    await expect.poll(() => pids.filter(isAlive)).toEqual([])
  })

  it('outlives a worker that dies with messages that nobody read', async () => {
    const child = spawn(process.execPath, [programs.files.unread, programs.files.targets])
    const all = Promise.all([textOf(child.stdout), textOf(child.stderr)])
    expect(await once(child, 'close')).toEqual([0, null])
    expect(await all).toEqual(['it ended with SIGKILL\n', ''])
  })

  it('gets on its stderr all that functions print', async () => {
    const { child, lines } = start('prints')
    const printed = textOf(child.stderr)
    await lines.next()
    expect((await lines.next()).value).toBe('result null')
    const all = (await printed).trim().split('\n')
    expect(all.filter((line) => line !== 'last line')).toEqual(
      Array.from({ length: 500 }, (_, at) => `line ${at}`),
    )
    expect(all).toContain('last line')
  })
})
