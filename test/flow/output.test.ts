/** What targets print: kept with their run, followed while they run, bounded, removed with it. See rfc/27, rules 10
 *  to 14. */

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { FlowRun, Target } from '../../src/api/flow.js'
import type { FlowRuns } from '../../src/api/flow-look.js'
import type { Store } from '../../src/api/store.js'
import { command, reopen, run, runsOf, target } from '../../src/flow/flow.js'
import { outputSizeMax, RunOutput } from '../../src/flow/run-output.js'
import { open } from '../../src/open.js'
import * as fn from './output-functions.js'

let store: Store
let runs: FlowRuns

beforeEach(async () => {
  store = await open()
  runs = runsOf({ store })
})
afterEach(() => store.close())

/** Makes a target that may fail, and returns the id of its run. */
async function made(wanted: Target<unknown>, options = {}): Promise<string> {
  const { id = '', result } = run(wanted, { store, ...options })
  await result.catch(() => {})
  return id
}

/** The output of a target, piece by piece; those of one stream that follow each other are one. */
async function printed(id: string, name: string, options = {}): Promise<string> {
  let [all, last] = ['', '']
  for await (const { stream, data } of runs.output(id, name, options)) {
    all += (stream === last ? '' : `${stream}: `) + Buffer.from(data)
    last = stream
  }
  return all
}

/** Begins a target that prints when it is told, and returns its run once it runs. */
async function begun(): Promise<FlowRun<unknown> & { readonly id: string }> {
  const flow = run(target('slow', [], fn.printsWhenTold), { store })
  for await (const { type } of flow) if (type === 'start') break
  // Its log has it then.
  for await (const { runs: running } of runs.follow(flow.id ?? '')) if (running.length > 0) break
  return flow as FlowRun<unknown> & { readonly id: string }
}

it('keeps what a function prints to its output, and of a target that prints nothing none', async () => {
  const quiet = target('quiet', [target('loud', [2], fn.prints)], fn.same)
  const id = await made(quiet)
  expect(await printed(id, 'loud')).toBe('stdout: line 0\nline 1\nstderr: done\n')
  expect(await printed(id, 'loud', { lines: 1 })).toBe('stderr: done\n')
  await expect(printed(id, 'quiet')).rejects.toMatchObject({ code: 'ENOENT' })
  const { entries } = await store.list(`output/${id}`, { namespace: 'flow-main' })
  expect(entries.map(({ name }) => name)).toEqual(['loud'])
  expect((await store.stat(`output/${id}/loud`, { namespace: 'flow-main' }))?.sealed).toBe(true)
})

it('keeps the stderr of a command, its stdout if its result is files, and shows the last of a failure', async () => {
  const script = 'echo out; echo more >&2; touch made; exit 3'
  const bad = command('bad', { run: ['sh', '-c', script], out: { made: 'made' } })
  const id = await made(bad)
  const all = await printed(id, 'bad')
  expect([...all.matchAll(/std\w+: \w+/g)].map(([line]) => line).sort()).toEqual([
    ...['stderr: more', 'stdout: out'],
  ])
  const { failures } = await runs.status(id)
  expect(failures[0]?.output?.split('\n').sort()).toEqual(['more', 'out'])
  const plain = await made(command('plain', { run: ['sh', '-c', 'echo out; echo more >&2'] }))
  expect(await printed(plain, 'plain')).toBe('stderr: more\n')
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-output-test-'))
  expect((await reopen('bad', { store, directory })).log).toBe('log.txt')
  const kept = await readFile(join(directory, 'log.txt'), 'utf8')
  expect(kept.split('\n').sort()).toEqual(['', 'more', 'out'])
  await rm(directory, { recursive: true })
})

it('is followed while the target runs, before it has printed, until its end', async () => {
  const { id, result } = await begun()
  const pieces = runs.output(id, 'slow', { follow: true })
  for (const word of ['first', 'second']) {
    const next = pieces.next()
    fn.told.say(word)
    const { value } = await next
    expect(Buffer.from(value?.data ?? '').toString()).toBe(`${word}\n`)
  }
  fn.told.say('')
  expect((await pieces.next()).done).toBe(true)
  await result
})

it('goes on in one log over retries, and ends for followers with a run that printed nothing', async () => {
  const flaky = target('flaky', [], fn.failsOnce, { retries: 1, retryDelayMs: 0 })
  const id = await made(flaky)
  expect(await printed(id, 'flaky')).toBe('stdout: call 1\ncall 2\n')
  expect(await runs.status(id)).toMatchObject({ state: 'ok' })
  const { id: quiet, result } = await begun()
  const following = printed(quiet, 'slow', { follow: true })
  fn.told.say('')
  await result
  expect(await following).toBe('')
})

it('removes a run with its output, and none that goes on', async () => {
  const flow = await begun()
  const { id } = flow
  const first = runs.output(id, 'slow', { follow: true }).next()
  fn.told.say('first')
  await first
  await expect(runs.remove(id)).rejects.toMatchObject({ code: 'EBUSY' })
  fn.told.say('')
  await flow.result
  await runs.remove(id)
  await expect(runs.show(id)).rejects.toMatchObject({ code: 'ENOENT' })
  const output = store.list(`output/${id}`, { namespace: 'flow-main' })
  await expect(output).rejects.toMatchObject({ code: 'ENOENT' })
})

it('keeps the last part of much output, in memory too, and few commits for many lines', async () => {
  await store.namespaces.create('flow-main')
  const run = 'r000000000000000'
  const output = new RunOutput({ store, flow: 'main', run })
  const before = (await store.history.roots({ namespace: 'flow-main' })).roots.length
  const line = Buffer.alloc(1024, 'x')
  for (let count = 0; count < 6 * 1024; count++) output.print('much', 'stdout', line)
  for (let count = 0; count < 1_000; count++) output.print('other', 'stderr', Buffer.from('.'))
  output.print('much', 'stdout', Buffer.from('last'))
  await output.close()
  const after = (await store.history.roots({ namespace: 'flow-main' })).roots.length
  expect(after - before).toBeLessThan(6)
  let size = 0
  let last = ''
  const { readPieces } = await import('../../src/eventlog/read-stream.js')
  const pieces = readPieces(store, `output/${run}/much`, undefined, { namespace: 'flow-main' })
  for await (const { data } of pieces) {
    size += data.length
    last = Buffer.from(data.subarray(-4)).toString()
  }
  expect(last).toBe('last')
  expect(size).toBeGreaterThan(outputSizeMax / 2)
  expect(size).toBeLessThan(outputSizeMax + 2 * 1024 * 1024)
  // What comes after the end is dropped.
  output.print('much', 'stdout', line)
  await output.close()
})
