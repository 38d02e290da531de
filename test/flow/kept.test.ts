/** Runs with a store: results are kept and found again, runs are recorded. See rfc/24, rules 15 to 22. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { text as textOf } from 'node:stream/consumers'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Event } from '../../src/api/event.js'
import type { FlowEvent, FlowRun, Target } from '../../src/api/flow.js'
import type { Lease, Leases } from '../../src/api/lease.js'
import type { Store } from '../../src/api/store.js'
import { deferred } from '../../src/base/deferred.js'
import { openCache } from '../../src/cache/cache.js'
import { unpack } from '../../src/cache/packing.js'
import { connect } from '../../src/client/node.js'
import type { FailedRecord } from '../../src/flow/failed.js'
import { cross, file, map, outdated, packed, run, target, why } from '../../src/flow/flow.js'
import { hexHashOf } from '../../src/flow/modules.js'
import { RunLog } from '../../src/flow/run-log.js'
import { open } from '../../src/open.js'
import { openValues } from '../../src/value/values.js'
import { serve } from '../client/serving.js'
import { refusal } from '../kvs/expect.js'
import { bundledPrograms } from '../support/programs.js'
import * as fn from './kept-functions.js'
import { foundOf, type RandomFlow, randomFlow } from './random-flows.js'

const programs = bundledPrograms({ flow: 'test/flow/kept-program.ts' })

type Opened = { readonly store: Store; readonly close: () => Promise<void> }

const places: Readonly<Record<string, () => Promise<Opened>>> = {
  embedded: async () => {
    const store = await open()
    return { store, close: () => store.close() }
  },
  'over a server': async () => {
    const serving = await serve()
    const store = await connect(serving.target)
    const close = async () => {
      await store.close()
      await serving[Symbol.asyncDispose]()
    }
    return { store, close }
  },
}

describe.each(Object.entries(places))('%s', (_name, make) => {
  let opened: Opened
  let store: Store

  beforeEach(async () => {
    opened = await make()
    store = opened.store
    for (const name of Object.keys(fn.calls)) delete fn.calls[name]
  })
  afterEach(() => opened.close())

  async function eventsOf(flow: FlowRun<unknown>): Promise<readonly FlowEvent[]> {
    const events: FlowEvent[] = []
    for await (const event of flow) events.push(event)
    return events
  }

  async function logOf(run: string | undefined, flow = 'main'): Promise<readonly Event[]> {
    const events: Event[] = []
    for await (const event of store.eventlog(`runs/${run}`, { namespace: `flow-${flow}` }).read())
      events.push(event)
    return events
  }

  /** Counts events by their types. */
  async function told(flow: FlowRun<unknown>): Promise<Readonly<Record<string, number>>> {
    const counts: Record<string, number> = {}
    for (const { type } of await eventsOf(flow)) counts[type] = (counts[type] ?? 0) + 1
    await flow.result
    return counts
  }

  const squares = (length = 3) => {
    const numbers = target('numbers', [length], fn.numbers)
    const each = map('squares', [numbers], fn.square)
    return { numbers, squares: each, sum: target('sum', [each], fn.sum) }
  }

  describe('a run with a store', () => {
    it('makes each target once, and finds it afterwards', async () => {
      const { sum } = squares()
      const first = run(sum, { store })
      expect(first.id).toMatch(/^r[0-9a-v]{15}$/)
      expect(await told(first)).toEqual({ start: 5, finish: 6, branch: 1 })
      expect(await first.result).toBe(5)
      expect(fn.calls).toEqual({ numbers: 1, square: 3, sum: 1 })
      const again = run(squares().sum, { store })
      expect(await told(again)).toEqual({ hit: 5, finish: 1, branch: 1 })
      expect(await again.result).toBe(5)
      expect(fn.calls).toEqual({ numbers: 1, square: 3, sum: 1 })
    })

    it('makes what an input that differs changes, and no more', async () => {
      await run(squares(3).sum, { store }).result
      expect(await run(squares(5).sum, { store }).result).toBe(30)
      // Three of the five squares were there.
      expect(fn.calls).toEqual({ numbers: 2, square: 5, sum: 2 })
    })

    it('stops where a result that was made anew is equal', async () => {
      const shout = (parity: number) =>
        target('shout', [target('text', [parity], fn.text)], fn.shout)
      expect(await run(shout(2), { store }).result).toBe('EVEN')
      expect(await run(shout(4), { store }).result).toBe('EVEN')
      expect(fn.calls).toEqual({ text: 2, shout: 1 })
      expect(await run(shout(5), { store }).result).toBe('ODD')
      expect(fn.calls).toEqual({ text: 3, shout: 2 })
    })

    it('takes a version as a part of the action, and a name as none', async () => {
      const size = (name: string, version?: number) =>
        target(name, [[1, 2]], fn.sum, version === undefined ? {} : { version })
      expect(await run(size('a'), { store }).result).toBe(3)
      expect(await run(size('b'), { store }).result).toBe(3)
      expect(fn.calls).toEqual({ sum: 1 })
      await run(size('a', 2), { store }).result
      expect(fn.calls).toEqual({ sum: 2 })
    })

    it('keeps large results outside of the record, and opens none that nobody computes on', async () => {
      const large = target('large', [3_000_000], fn.large)
      const flow = { size: target('size', [large], fn.sizeOf), large }
      const first = await run(flow, { store }).result
      expect([first.size, first.large.length]).toEqual([3_000_000, 3_000_000])
      const again = await run(flow, { store }).result
      expect(Buffer.compare(again.large, first.large)).toBe(0)
      expect(fn.calls).toEqual({ large: 1, sizeOf: 1 })
    })

    it('gives packed inputs packed, those of branches too', async () => {
      const { squares: each } = squares()
      const opened = target(
        'opened',
        [packed(each), { first: packed(target('one', [2], fn.square)) }],
        async (all, { first }) => {
          return [await all.use((values) => values), await first.use((value) => value)]
        },
      )
      expect(await run(opened, { store }).result).toEqual([[0, 1, 4], 4])
    })

    it('goes through combinations, arrays of arrays and nothing', async () => {
      const three = target('three', [3], fn.numbers)
      const none = target('none', [0], fn.numbers)
      const all = {
        table: cross('table', [three, three], fn.product),
        none: map('nothing', [none], fn.square),
      }
      const expected = { table: [0, 0, 0, 0, 1, 2, 0, 2, 4], none: [] }
      expect(await run(all, { store }).result).toEqual(expected)
      const { product } = fn.calls
      expect(await run(all, { store }).result).toEqual(expected)
      expect([product, fn.calls['product']]).toEqual([9, 9])
    })

    it('two runs at the same time make each target once', async () => {
      const gate = deferred<void>()
      fn.gate.wait = gate.promise
      const flow = () => target('end', [target('held', [], fn.held)], fn.shout)
      const first = run(flow(), { store })
      await expect.poll(() => fn.calls['held']).toBe(1)
      const second = run(
        { end: flow(), other: target('other', [4], fn.square) },
        { store, concurrency: 1 },
      )
      // The second does its other target while the first has the claim.
      await expect.poll(() => fn.calls['square']).toBe(1)
      gate.resolve()
      expect(await Promise.all([first.result, second.result])).toEqual([
        'HELD',
        { end: 'HELD', other: 16 },
      ])
      expect(fn.calls).toEqual({ held: 1, shout: 1, square: 1 })
    })

    it('looks again for a target whose claim was lost, and not for one that fails', async () => {
      const taken: Lease[] = []
      const leases: Leases = {
        ...store.leases,
        takeEach: async (keys, options) => {
          const leases = await store.leases.takeEach(keys, options)
          taken.push(...leases.flatMap((lease) => (lease instanceof Error ? [] : [lease])))
          return leases
        },
      }
      const noted: Store = Object.create(store, { leases: { value: leases } })
      const gate = deferred<void>()
      fn.gate.wait = gate.promise
      const made = run(target('held', [], fn.held), { store: noted })
      await expect.poll(() => fn.calls['held']).toBe(1)
      const ofCall = taken.find(({ namespace }) => namespace !== 'flow-main')
      const { key = '', namespace = '', token } = ofCall ?? {}
      if (!token) throw new Error('the call has a claim')
      const release = { op: 'lease', key, action: 'release', token } as const
      await store.commit({ ops: [release] }, { namespace })
      gate.resolve()
      expect(await made.result).toBe('held')
      expect(fn.calls['held']).toBe(2)
      // The code of a lost publish, thrown by the function itself.
      const unknown = run(target('unknown', [], fn.failsUnknown), { store })
      await expect(unknown.result).rejects.toMatchObject({ code: 'EUNKNOWN' })
      expect(fn.calls['failsUnknown']).toBe(1)
    })

    it('that fails keeps what it has made', async () => {
      const bad = target('bad', [], fn.fails)
      const flow = {
        good: target('good', [3], fn.square),
        bad,
        worse: target('worse', [bad], fn.square),
      }
      const failing = run(flow, { store, onError: 'continue' })
      const events = await eventsOf(failing)
      await expect(failing.result).rejects.toThrow(RangeError)
      expect(events.map(({ type }) => type).sort()).toEqual([
        'fail',
        'finish',
        'skip',
        'start',
        'start',
      ])
      await run(flow.good, { store }).result
      expect(fn.calls).toEqual({ square: 1, fails: 1 })
    })

    it('keeps no null of a target that failed, and what was made with it', async () => {
      const flow = (onError: 'null' | 'stop') => {
        const flaky = target('flaky', [7], fn.flaky, { onError } as { onError: 'null' })
        return { flaky, number: target('number', [flaky], fn.orZero) }
      }
      fn.failures.left = 2
      expect(await run(flow('null'), { store }).result).toEqual({ flaky: null, number: 0 })
      expect(await run(flow('null'), { store }).result).toEqual({ flaky: null, number: 0 })
      expect(fn.calls).toEqual({ flaky: 2, orZero: 1 })
      expect(await outdated(flow('null').number, { store })).toEqual([
        { target: 'flaky', because: 'new' },
        { target: 'number', because: 'inputs' },
      ])
      // How it may fail is no part of what it is made of.
      expect(await run(flow('stop'), { store }).result).toEqual({ flaky: 7, number: 7 })
      expect(await run(flow('null'), { store }).result).toEqual({ flaky: 7, number: 7 })
      expect(fn.calls).toEqual({ flaky: 3, orZero: 2 })
    })

    it('leaves branches out as if their elements were none, and resolves with what there is', async () => {
      const flow = (onError: 'trim' | 'stop') => {
        const numbers = target('numbers', [3], fn.numbers)
        const each = map('each', [numbers], fn.flaky, { onError })
        return { each, sum: target('sum', [each], fn.sum) }
      }
      fn.failures.left = 1
      const made = await run(flow('trim'), { store, concurrency: 1 }).result
      expect(made.each.length).toBe(2)
      expect(made.sum).toBe(made.each.reduce((sum, each) => sum + each, 0))
      expect(await run(flow('stop'), { store }).result).toEqual({ each: [0, 1, 2], sum: 3 })
      expect(fn.calls['flaky']).toBe(4)
      const bad = target('bad', [], fn.fails)
      const left = run(
        { bad, after: target('after', [bad], fn.square), sum: flow('stop').sum },
        {
          ...{ store, onError: 'trim' },
        },
      )
      expect(await left.result).toEqual({ bad: undefined, after: undefined, sum: 3 })
    })

    it('calls a target again that failed, and gives its claim to another run meanwhile', async () => {
      const flaky = () => target('flaky', [7], fn.flaky, { retries: 1, retryDelayMs: 200_000 })
      fn.failures.left = 1
      const first = run(flaky(), { store })
      const events = first[Symbol.asyncIterator]()
      expect((await events.next()).value).toMatchObject({ type: 'start' })
      expect((await events.next()).value).toMatchObject({ type: 'retry', tries: 1 })
      expect(await run(flaky(), { store }).result).toBe(7)
      expect(fn.calls).toEqual({ flaky: 2 })
      const canceling = new AbortController()
      const canceled = run(target('bad', [], fn.fails), {
        ...{ store, retries: 1, signal: canceling.signal },
      })
      for await (const { type } of canceled) if (type === 'retry') canceling.abort()
      await expect(canceled.result).rejects.toMatchObject({ code: 'ECANCELED' })
      await expect(
        run(target('deaf', [], fn.deaf, { timeoutMs: 20 }), { store }).result,
      ).rejects.toMatchObject({ code: 'ETIMEDOUT' })
      const again = target('again', [8], fn.flaky, { retries: 1, retryDelayMs: 0 })
      fn.failures.left = 1
      expect(await told(run(again, { store }))).toEqual({ start: 2, retry: 1, finish: 1 })
    })

    describe('rerun', () => {
      it('calls targets whose results are there, and what depends on them if these differ', async () => {
        const { numbers, squares: each, sum } = squares()
        const end = target('end', [sum, 1], fn.product)
        await run(end, { store }).result
        const calls = { numbers: 1, square: 3, sum: 1, product: 1 }
        expect(fn.calls).toEqual(calls)
        // Who asked for it is not warned of it.
        const warnings: Error[] = []
        const note = (warning: Error) => warnings.push(warning)
        process.on('warning', note)
        const again = run(end, { store, rerun: [numbers, 'squares[1]'] })
        expect(await told(again)).toEqual({ start: 2, hit: 4, finish: 3, branch: 1 })
        process.off('warning', note)
        expect(warnings).toEqual([])
        expect(fn.calls).toEqual({ ...calls, numbers: 2, square: 4 })
        await run(end, { store, rerun: ['squares'] }).result
        expect(fn.calls['square']).toBe(7)
        await run([end, each], { store, rerun: [each], rerunDependents: true }).result
        expect(fn.calls).toEqual({ numbers: 2, square: 10, sum: 2, product: 2 })
        // Another result of the same action: what depends on it is another one then.
        const drawn = target('drawn', [], fn.drawn)
        const square = target('square', [drawn], fn.square)
        const first = await run([drawn, square], { store }).result
        const second = await run([drawn, square], { store, rerun: [drawn] }).result
        expect(second[0]).not.toBe(first[0])
        expect(second[1]).toBe(second[0] ** 2)
        expect(await run([drawn, square], { store }).result).toEqual(second)
      })

      it('that fails leaves the result that was there', async () => {
        const flaky = target('flaky', [7], fn.flaky)
        await run(flaky, { store }).result
        fn.failures.left = 1
        await expect(run(flaky, { store, rerun: [flaky] }).result).rejects.toThrow('on purpose')
        expect(await run(flaky, { store }).result).toBe(7)
        expect(fn.calls).toEqual({ flaky: 2 })
      })

      it('calls for itself, after the call of another run', async () => {
        const held = target('held', [], fn.held)
        await run(held, { store }).result
        const gate = deferred<void>()
        fn.gate.wait = gate.promise
        const first = run(held, { store, rerun: [held] })
        await expect.poll(() => fn.calls['held']).toBe(2)
        const other = target('other', [4], fn.square)
        const second = run([held, other], { store, rerun: [held], concurrency: 1 })
        const third = run(held, { store, rerun: [held] })
        await expect.poll(() => fn.calls['square']).toBe(1)
        expect(fn.calls['held']).toBe(2)
        // Who only wants it takes what is there.
        expect(await run(held, { store }).result).toBe('held')
        gate.resolve()
        await Promise.all([first.result, second.result, third.result])
        expect(fn.calls).toEqual({ held: 4, square: 1 })
      })

      it('of a target that the run has not is EINVAL', async () => {
        const { sum } = squares()
        const refused = { code: 'EINVAL', message: expect.stringContaining('other') }
        await expect(run(sum, { store, rerun: ['other'] }).result).rejects.toMatchObject(refused)
        expect(() => run(sum, { rerun: [sum] })).toThrow('means nothing without a store')
      })
    })

    it('makes a target again if a file among its inputs has other bytes', async () => {
      const directory = await mkdtemp(join(tmpdir(), 'tailrace-flow-'))
      try {
        const path = join(directory, 'in.txt')
        const size = (change: string | null = null) =>
          target('size', [file(path), change], fn.sizeOfFile)
        expect(await refusal(run(size(), { store }).result)).toMatchObject({ code: 'ENOENT' })
        expect(
          await refusal(run(target('d', [file(directory), null], fn.sizeOfFile), { store }).result),
        ).toMatchObject({ code: 'EINVAL' })
        await writeFile(path, 'abc')
        expect(await run(size(), { store }).result).toBe(3)
        await writeFile(path, 'abc')
        expect(await run(size(), { store }).result).toBe(3)
        expect(fn.calls).toEqual({ sizeOfFile: 1 })
        await writeFile(path, 'abcd')
        expect(await outdated(size(), { store })).toEqual([{ target: 'size', because: 'changed' }])
        expect((await why(size(), { store })).map(({ path }) => path)).toEqual(['inputs[0].hash'])
        expect(await run(size(), { store }).result).toBe(4)
        // Nobody knows what it has read of a file that is changed meanwhile.
        const changed = run(size('e'), { store })
        expect(await refusal(changed.result)).toMatchObject({ code: 'ECONFLICT' })
        expect(await run(size(''), { store }).result).toBe(5)
        // The path itself counts as it was given, wherever the working directory is.
        const near = target('near', [{ files: [file(relative('.', path))] }], ({ files }) => files)
        expect(await run(near).result).toEqual([path])
      } finally {
        await rm(directory, { recursive: true })
      }
    })

    it('records a failure with its stack and with what the call was given', async () => {
      const numbers = target('numbers', [2], fn.numbers)
      const squares = map('squares', [numbers], fn.square)
      const three = target('three', [3], fn.square)
      const bad = target('bad', [squares, { three }, 'x'], fn.fails)
      const made = run({ bad, three }, { store, retries: 1 })
      await expect(made.result.catch((error) => Promise.reject(error))).rejects.toThrow(RangeError)
      const log = await logOf(made.id)
      const failure = {
        error: 'on purpose',
        stack: expect.stringMatching(/^RangeError: on purpose\n.*kept-functions/),
      }
      expect(log.find(({ name }) => name === 'retry')?.context).toEqual({
        ...{ target: 'bad', ...failure, tries: 1, waitMs: expect.any(Number) },
      })
      expect(log.find(({ name }) => name === 'fail')?.context).toEqual({
        ...{ target: 'bad', ...failure, onError: 'stop' },
      })
      const bytes = await store.get('failed/bad', { namespace: 'flow-main' })
      const failed = unpack(bytes ?? new Uint8Array(), 'failed') as FailedRecord
      expect(failed).toMatchObject({
        run: made.id,
        error: { message: 'on purpose', stack: failure.stack },
        id: expect.stringMatching(/^[0-9a-f]{64}$/),
        inputs: { squares: { hash: expect.any(String) }, three: { id: expect.any(String) } },
      })
      // All that the call was given is found from there.
      const { three: found, squares: all } = failed.inputs ?? {}
      const cache = openCache(store)
      const hit = await cache.results.load(found?.id ?? '')
      expect(hexHashOf((await hit?.get()) ?? new Uint8Array())).toBe(found?.hash)
      expect(failed.action?.inputs).toEqual([
        { result: all?.hash },
        { fields: { three: { result: found?.hash } } },
        { value: 'x' },
      ])
      // With a code, and in a second run that ends well otherwise.
      fn.failures.left = 1
      const flaky = target('flaky', [1], fn.flaky, { onError: 'null' })
      await run(flaky, { store }).result
      const coded = await store.get('failed/flaky', { namespace: 'flow-main' })
      expect(unpack(coded ?? new Uint8Array(), 'failed')).toMatchObject({
        error: { code: 'EFLAKY' },
      })
    })

    it('is an eventlog that says how it ended', async () => {
      const { sum } = squares(1)
      const done = run(sum, { store, flow: 'numbers' })
      await done.result
      const log = await logOf(done.id, 'numbers')
      expect(log.map(({ name, context }) => [name, context?.['target']])).toEqual([
        ['begin', undefined],
        ['start', 'numbers'],
        ['finish', 'numbers'],
        ['branch', 'squares'],
        ['start', 'squares[0]'],
        ['finish', 'squares[0]'],
        ['finish', 'squares'],
        ['start', 'sum'],
        ['finish', 'sum'],
        ['end', undefined],
      ])
      expect((await store.stat(`runs/${done.id}`, { namespace: 'flow-numbers' }))?.sealed).toBe(
        true,
      )
      const failed = run(target('bad', [], fn.fails), { store })
      await expect(failed.result).rejects.toThrow('on purpose')
      const end = (await logOf(failed.id)).at(-1)
      expect(end).toMatchObject({ name: 'end', context: { failed: 'on purpose' } })
    })

    it('an option that means nothing is EINVAL', async () => {
      const { sum } = squares()
      for (const options of [
        { layer: 'main' },
        { flow: 'x' },
        { store, flow: 'a b' },
        { store, layer: 'A B' },
      ]) {
        const tried = async () => run(sum, options).result
        expect(await refusal(tried())).toMatchObject({ code: 'EINVAL' })
      }
    })
  })

  describe('outdated() and why()', () => {
    const flow = (length: number, version = 1) => {
      const numbers = target('numbers', [length], fn.numbers)
      const sum = target('sum', [numbers], fn.sum, { version })
      return { numbers, sum, end: target('end', [sum, 2], fn.product) }
    }

    it('tell what a run would make, and make nothing', async () => {
      const first = await outdated(flow(3).end, { store })
      expect(first).toEqual([
        { target: 'numbers', because: 'new' },
        { target: 'sum', because: 'inputs' },
        { target: 'end', because: 'inputs' },
      ])
      expect(fn.calls).toEqual({})
      await run(flow(3).end, { store }).result
      expect(await outdated(flow(3).end, { store })).toEqual([])
      expect(await outdated(flow(3, 2).end, { store })).toEqual([
        { target: 'sum', because: 'changed' },
        { target: 'end', because: 'inputs' },
      ])
      expect(fn.calls).toEqual({ numbers: 1, sum: 1, product: 1 })
    })

    it('name the part that changed', async () => {
      expect(await refusal(why(flow(3).numbers, { store }))).toMatchObject({ code: 'ENOENT' })
      await run(flow(3).end, { store }).result
      expect(await why(flow(3).end, { store })).toEqual([])
      expect(await why(flow(4).numbers, { store })).toEqual([
        { path: 'inputs[0].value', before: 3, after: 4 },
      ])
      expect(await why(flow(3, 2).sum, { store })).toEqual([
        { path: 'version', before: 1, after: 2 },
      ])
      expect(await refusal(why(flow(4).sum, { store }))).toMatchObject({ code: 'ECONFLICT' })
    })
  })
})

it('the log of a run writes many large failures in several commits', async () => {
  await using store = await open()
  const log = new RunLog({ store, flow: 'main', run: 'r1', modules: new Map() })
  await log.open()
  const error = new RangeError('long '.repeat(5_000))
  const failures = async function* (): AsyncGenerator<FlowEvent> {
    for (let at = 0; at < 300; at++) {
      yield { type: 'fail', target: `t${at}`, at, error, onError: 'continue' }
    }
  }
  await log.write(failures())
  let count = 0
  const logged = store.eventlog('runs/r1', { namespace: 'flow-main' }).read()
  for await (const { name } of logged) if (name === 'fail') count++
  expect(count).toBe(300)
  const kept = await store.list('failed', { namespace: 'flow-main' })
  expect(kept?.entries.length).toBe(300)
})

it('a change makes what it affects, and nothing else', async () => {
  await fc.assert(
    fc.asyncProperty(randomFlow, fc.nat(), async (flow, changed) => {
      await using store = await open()
      const found = foundOf(flow)
      const at = found[changed % found.length] ?? 0
      const made = fn.places
      made.length = 0
      /** Each result is a number that depends on those of all sources, and for one on its version. */
      const flowOf = (version: number) => {
        const all: Target<number>[] = []
        for (const [index, { sources }] of flow.targets.entries()) {
          const inputs = sources.flatMap((source) => all[source] ?? [])
          all.push(target(`t${index}`, [index, index === at ? version : 0, inputs], fn.mixed))
        }
        return flow.wanted.flatMap((wanted) => all[wanted] ?? [])
      }
      const before = await run(flowOf(0), { store }).result
      expect([...made].sort(byNumber)).toEqual([...found].sort(byNumber))
      made.length = 0
      expect(await run(flowOf(0), { store }).result).toEqual(before)
      expect(made).toEqual([])
      await run(flowOf(1), { store }).result
      const affected = found.filter((place) => dependsOn(flow, place, at))
      expect([...made].sort(byNumber)).toEqual([...affected].sort(byNumber))
    }),
    { numRuns: 25 },
  )
})

const byNumber = (a: number, b: number) => a - b

/** True if a target is another one, or depends on it. */
function dependsOn(flow: RandomFlow, place: number, on: number): boolean {
  const { sources = [] } = flow.targets[place] ?? {}
  return place === on || sources.some((source) => dependsOn(flow, source, on))
}

it('a process that is killed at any event makes nothing again that it had finished', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tailrace-flow-'))
  try {
    // Each on a store of its own; the first claims of a killed process end after a while.
    const kills = Array.from({ length: 10 }, async (_, index) => {
      const data = join(directory, `${index}`)
      const killed = await runProgram(data, index + 1)
      expect(killed.signal).toBe('SIGKILL')
      const resumed = await runProgram(data, 0)
      expect(resumed.result).toBe(1)
      expect(resumed.old).toMatch(/ killed$/)
      expect(resumed.old).toBe(`${resumed.resumes} killed`)
      // What had begun and not finished may run again; nothing does that had finished.
      expect(resumed.called.filter((name) => killed.finished.includes(name))).toEqual([])
      const both = new Set([...killed.called, ...resumed.called])
      expect(both).toEqual(new Set(['numbers', 'square 0', 'square 1', 'sum']))
    })
    await Promise.all(kills)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})

/** Runs the program on a store, which kills itself at an event; 0 for none. */
async function runProgram(data: string, killAt: number) {
  const child = spawn(process.execPath, [programs.flow, data, `${killAt}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [said, [, signal]] = await Promise.all([textOf(child.stdout), once(child, 'exit')])
  const lines = said.trimEnd().split('\n')
  const those = (word: string) =>
    lines.flatMap((line) => (line.startsWith(`${word} `) ? [line.slice(word.length + 1)] : []))
  const [result] = those('result')
  return {
    signal: signal as string | null,
    called: those('call'),
    finished: those('finish'),
    result: result === undefined ? undefined : Number(result),
    old: those('old')[0],
    resumes: those('resumes')[0],
  }
}

it.each(['stop', 'continue', 'trim', 'null'] as const)(
  'a run gives all memory back to values of its caller, however it ends: %s',
  async (onError) => {
    await using store = await open()
    const values = openValues()
    const list = target('list', [], () => [1, 2, 3, 4])
    const other = target('other', [list], (all) => all.length)
    const parts = map('parts', [list], (each) => {
      if (each === 3) throw new Error('no')
      return 'x'.repeat(100 * each)
    })
    const made = target('made', [parts, other], () => 1)
    const { result } = run([made, list], { store, values, onError, concurrency: 1 })
    await result.catch(() => {})
    const { packed, opened } = values.ledger()
    expect(packed.highest).toBeGreaterThan(0)
    expect({ packed: packed.used, opened: opened.used }).toEqual({ packed: 0, opened: 0 })
  },
)
