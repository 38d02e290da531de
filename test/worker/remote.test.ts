/** Workers that join a served store: taken, given back, killed, replaced. See rfc/25, rules 19 to 27. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import type {
  FlowEvent,
  FlowRun,
  ServedWorker,
  ServedWorkerEvent,
  ServeWorkerOptions,
} from '../../src/api/flow.js'
import type { Store } from '../../src/api/store.js'
import { connect } from '../../src/client/node.js'
import { open } from '../../src/open.js'
import { startServer } from '../../src/server/server.js'
import { type Bundles, bundle } from '../support/bundle.js'
import { nativeImport } from '../support/native-import.js'

type Api = typeof import('./api.js')
type Targets = typeof import('./targets.js')

/** The time after which a worker or a scheduler counts as dead here, in ms. */
const ttlMs = 3_000

let programs: Bundles<
  'api' | 'targets' | 'random' | 'joins' | 'remote-scheduler' | 'program' | 'guard'
>
let api: Api
let targets: Targets
let directory: string
let server: Awaited<ReturnType<typeof serve>>
let store: Store
const children = new Set<ChildProcess>()

async function serve() {
  const data = join(directory, 'data')
  const kept = await open({ directory: data })
  const served = await startServer(kept, { directory: data, log: () => {} })
  return {
    url: `unix:${served.socket}`,
    end: async () => {
      await served.stop()
      await kept[Symbol.asyncDispose]()
    },
  }
}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tailrace-remote-'))
  process.env['TAILRACE_TEST_WORKERS'] = directory
  programs = await bundle({
    api: 'test/worker/api.ts',
    targets: 'test/worker/targets.ts',
    random: 'test/worker/random-targets.ts',
    joins: 'test/worker/joins.ts',
    'remote-scheduler': 'test/worker/remote-scheduler.ts',
    program: 'src/worker/program.ts',
    guard: 'src/worker/guard.ts',
  })
  api = await nativeImport<Api>(programs.files.api)
  targets = await nativeImport<Targets>(programs.files.targets)
  server = await serve()
  store = await connect(server.url)
})
afterAll(async () => {
  await store[Symbol.asyncDispose]()
  await server.end()
  await programs[Symbol.asyncDispose]()
  await rm(directory, { recursive: true, force: true })
  delete process.env['TAILRACE_TEST_WORKERS']
})
beforeEach(async () => {
  await rm(join(directory, 'go'), { force: true })
  await writeFile(join(directory, 'said'), '')
})
afterEach(async () => {
  // One that is killed counts as there for a while.
  for (const child of children) child.kill('SIGTERM')
  await Promise.all(
    [...children].map((child) => child.exitCode ?? child.signalCode ?? once(child, 'close')),
  )
  children.clear()
})

const said = () => readFileSync(join(directory, 'said'), 'utf8').trim().split('\n').sort()
const letGo = () => writeFileSync(join(directory, 'go'), '')

/** A worker in a process of its own. */
class Joined {
  readonly child: ChildProcess
  readonly #lines: AsyncIterator<string>
  readonly #stderr: string[] = []

  constructor(options: Partial<ServeWorkerOptions> = {}) {
    const all = { module: programs.files.targets, ttlMs, graceMs: 200, ...options }
    const args = [programs.files.joins, server.url, JSON.stringify(all)]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.child = child
    children.add(child)
    child.stderr?.on('data', (chunk: Buffer) => this.#stderr.push(chunk.toString()))
    this.#lines = (createInterface(child.stdout) as Interface)[Symbol.asyncIterator]()
  }

  get stderr(): string {
    return this.#stderr.join('')
  }

  /** Waits for an event of a type, and returns it. */
  async until(type: ServedWorkerEvent['type']): Promise<ServedWorkerEvent> {
    for (;;) {
      const { done, value } = await this.#lines.next()
      if (done) throw new Error(`the worker ended before ${type}: ${this.stderr}`)
      const event: ServedWorkerEvent = JSON.parse(value)
      if (event.type === type) return event
    }
  }

  async ended(): Promise<number | null> {
    const [code] = await once(this.child, 'close')
    return code
  }
}

/** The types of the events of a run, but those that say that it waits for a worker. */
async function typesOf(flow: FlowRun<unknown>): Promise<readonly string[]> {
  const types: string[] = []
  for await (const { type } of flow) if (type !== 'wait') types.push(type)
  return types
}

it('give the results that functions of this process give', async () => {
  const { run, openWorkers, openValues } = api
  const { sum, mixed, numbers, squares, slices } = targets
  const { random } = await nativeImport<typeof import('./random-targets.js')>(programs.files.random)
  const module = [programs.files.targets, programs.files.random]
  const worker = new Joined({ slots: 2, module })
  await using workers = openWorkers({ remote: { store } })
  const wanted = { sum, mixed, numbers, squares, random }
  const expected = await run(wanted).result
  expect(await run(wanted, { workers, store, flow: 'same' }).result).toEqual(expected)
  expect(await run(wanted, { workers }).result).toEqual(expected)
  // Large inputs and results pass by reference: the scheduler reads none.
  const values = openValues()
  const large = run(targets.sizes, { workers, store, flow: 'large', values })
  expect(await large.result).toBe(5_000)
  expect(values.ledger().counts).toMatchObject({ fetches: 0, stores: 0 })
  expect(await run(targets.data, { store, flow: 'large' }).result).toEqual(
    await run(targets.data).result,
  )
  const sizes = targets.plain.map((_, at) => [1_500_000, at])
  expect(await run(targets.plain, { workers, concurrency: 12 }).result).toEqual(sizes)
  const rows = await run(slices, { workers }).result
  expect(rows.map(([, , row]) => row)).toEqual(Array.from({ length: 40 }, (_, at) => at))
  expect(new Set(rows.map(([id]) => id)).size).toBe(1)
  expect(workers.list()).toMatchObject([{ kind: 'remote', state: 'ready' }])
  expect(await api.workersOf(store)).toMatchObject([{ state: 'busy', slots: 2, labels: [] }])
  await workers[Symbol.asyncDispose]()
  await worker.until('idle')
  await worker.until('free')
})

/** A worker of this process, whose functions run in processes of their own. */
function joined(
  options: Partial<ServeWorkerOptions> = {},
): ServedWorker & { readonly told: string[] } {
  const told: string[] = []
  const onEvent = ({ type }: ServedWorkerEvent) => void told.push(type)
  const all = { module: programs.files.targets, ttlMs, graceMs: 200, onEvent, ...options }
  return Object.assign(api.serveWorker(store, all), { told })
}

it('whose process dies in a call run it again; a call that kills three is poisonous', async () => {
  const { run, openWorkers } = api
  await using worker = joined()
  await using workers = openWorkers({ remote: { store } })
  const types = await typesOf(run(targets.deadlyOnce, { workers }))
  expect(types).toEqual(['start', 'lost', 'start', 'finish'])
  const deadly = run(targets.deadly, { workers }).result
  const message = expect.stringMatching(/is poisonous: 3 workers/)
  await expect(deadly).rejects.toMatchObject({ code: 'EIO', message })
  expect(said().filter((line) => line === 'deadly')).toHaveLength(3)
  expect(worker.told.filter((type) => type === 'died')).toHaveLength(4)
})

it('that are killed are seen as dead in time, and their calls run elsewhere', async () => {
  const { run, openWorkers } = api
  const first = new Joined()
  await using workers = openWorkers({ remote: { store } })
  const flow = run(targets.blocked, { workers })
  await expect.poll(said).toContain('blocked')
  await using _second = joined()
  const killed = performance.now()
  first.child.kill('SIGKILL')
  const types: string[] = []
  for await (const { type } of flow) {
    if (type !== 'wait') types.push(type)
    if (type !== 'lost') continue
    expect(performance.now() - killed).toBeLessThan(ttlMs + 2_000)
    letGo()
  }
  expect(types).toEqual(['start', 'lost', 'start', 'finish'])
  // Nothing is left of it.
  await expect.poll(() => api.workersOf(store)).toHaveLength(1)
})

it('and their scheduler go on over a restart of the server', async () => {
  const { run, openWorkers } = api
  const worker = new Joined()
  await using workers = openWorkers({ remote: { store } })
  const flow = run([targets.blocked, targets.sum], { workers, store, flow: 'restart' })
  await expect.poll(said).toContain('blocked')
  await server.end()
  server = await serve()
  letGo()
  expect((await flow.result)[1]).toBe(35)
  expect(said().filter((line) => line === 'blocked')).toHaveLength(1)
  expect(worker.stderr).toBe('')
})

it('are free for others when their scheduler was killed', async () => {
  const { run, openWorkers } = api
  await using worker = joined()
  const { 'remote-scheduler': program, targets: module } = programs.files
  const scheduler = spawn(process.execPath, [program, server.url, module, 'ignoresAbort'])
  children.add(scheduler)
  await expect.poll(said).toContain('ignores')
  scheduler.kill('SIGKILL')
  await expect.poll(() => worker.told).toContain('idle')
  await using workers = openWorkers({ remote: { store } })
  expect(await run(targets.quick, { workers }).result).toEqual([0, 1, 2, 3, 4, 5])
})

it('with other code are refused, with the file and the hashes, and others are waited for', async () => {
  const { run, openWorkers } = api
  const other = programs.files.targets.replace('targets.js', 'other-targets.js')
  const text = readFileSync(programs.files.targets, 'utf8')
  await writeFile(other, text.replace('all.rows.length)', 'all.rows.length + 1)'))
  await using _refused = joined({ module: other })
  await using workers = openWorkers({ remote: { store } })
  const events: FlowEvent[] = []
  const fitting: ServedWorker[] = []
  for await (const event of run(targets.sizes, { workers })) {
    events.push(event)
    if (event.type === 'refuse') fitting.push(joined())
  }
  const refused = events.filter(({ type }) => type === 'refuse')
  const message = expect.stringMatching(
    /data differs in a worker: .*[0-9a-f]{64}.*other-targets\.js/,
  )
  expect(refused).toMatchObject([{ target: 'data', error: { code: 'ECONFLICT', message } }])
  expect(events.map(({ type }) => type)).toContain('wait')
  expect(events.at(-1)).toMatchObject({ type: 'finish', target: 'sizes' })
  for (const each of fitting) await each[Symbol.asyncDispose]()
})

it('of a label are waited for, while others run what needs none', async () => {
  const { run, openWorkers } = api
  await using _plain = joined()
  await using workers = openWorkers({ remote: { store } })
  const flow = run([targets.large, ...targets.quick], { workers })
  const seen: string[] = []
  const labelled: ServedWorker[] = []
  for await (const event of flow) {
    seen.push(`${event.type} ${event.target}`)
    const hasFinished = seen.filter((each) => each.startsWith('finish quick')).length
    if (hasFinished === 6 && labelled.length === 0) labelled.push(joined({ labels: ['big'] }))
    if (event.type === 'wait' && event.target === 'large') expect(event.label).toBe('big')
  }
  expect(seen.filter((each) => each === 'wait large')).toHaveLength(1)
  expect(seen.at(-1)).toBe('finish large')
  for (const each of labelled) await each[Symbol.asyncDispose]()
})

it('that leave end what has begun, and give back the rest', async () => {
  const { run, openWorkers } = api
  const worker = joined({ graceMs: 10_000 })
  await using workers = openWorkers({ remote: { store } })
  const flow = run([targets.blocked, ...targets.quick], { workers })
  await expect.poll(said).toContain('blocked')
  await using _second = joined()
  worker.leave()
  for await (const { type, target } of flow) if (type === 'finish' && target === 'quick5') letGo()
  await worker.ended
  expect(said()).toEqual(['blocked'])
  await flow.result
})

it('that leave have a bound: then their calls run elsewhere', async () => {
  const { run, openWorkers } = api
  const worker = joined()
  await using workers = openWorkers({ remote: { store } })
  const flow = run(targets.blocked, { workers })
  await expect.poll(said).toContain('blocked')
  worker.leave()
  await worker.ended
  await using _second = joined()
  for await (const { type } of flow) if (type === 'lost') letGo()
  expect(said()).toEqual(['blocked', 'blocked'])
})

it('leave after so many calls, or after a time', async () => {
  const { run, openWorkers } = api
  const worker = joined({ callsMax: 1 })
  await using workers = openWorkers({ remote: { store } })
  expect(await run(targets.quick[0] ?? [], { workers }).result).toBe(0)
  await worker.ended
  await joined({ lifetimeMs: 1 }).ended
  expect(await api.workersOf(store)).toEqual([])
})

it('that cannot import their modules end with the reason', async () => {
  const module = join(directory, 'empty.mjs')
  await writeFile(module, 'export const nothing = 1')
  await expect(joined({ module }).ended).rejects.toMatchObject({ code: 'EINVAL' })
})
