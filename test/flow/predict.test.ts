/** Predictions of runs by their real schedule. See rfc/26, rules 11 and 12. */

import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import { LoopSlice } from '../../src/base/loop-slice.js'
import { map, plan, run, runsOf, target } from '../../src/flow/flow.js'
import { enoughOf } from '../../src/flow/forecast.js'
import { type Predicted, type PredictedTarget, Predictor } from '../../src/flow/predict.js'
import { open } from '../../src/open.js'
import { refusal } from '../kvs/expect.js'
import * as fn from './kept-functions.js'

const expected = fc.option(fc.integer({ min: 0, max: 9 }), { nil: undefined, freq: 4 })

/** Random targets of which some are there, and some have branches. */
const anyTargets: fc.Arbitrary<readonly PredictedTarget[]> = fc
  .array(
    fc.record({
      links: fc.array(fc.nat(), { maxLength: 3 }),
      expected,
      branches: fc.option(fc.array(expected, { maxLength: 4 }), { nil: undefined, freq: 3 }),
    }),
    { minLength: 1, maxLength: 15 },
  )
  .map((all) =>
    all.map(({ links, expected, branches }, place): PredictedTarget => {
      const name = `t${place}`
      const sources = place === 0 ? [] : [...new Set(links.map((link) => link % place))]
      const shared = { name, sources, needs: [] }
      if (!branches || sources.length === 0) return { ...shared, expected }
      const named = branches.map((each, at) => ({ name: `${name}[${at}]`, expected: each }))
      return { ...shared, expected: undefined, branches: named }
    }),
  )

const limits = {}
const slice = () => new LoopSlice()

async function predictorOf(targets: readonly PredictedTarget[]): Promise<Predictor> {
  return Predictor.of(targets, () => 1, slice())
}

async function predicted(
  targets: readonly PredictedTarget[],
  concurrency: number,
): Promise<Predicted & { readonly workMs: number; readonly pathMs: number }> {
  const predictor = await predictorOf(targets)
  const { path, workMs } = predictor
  const pathMs = path.reduce((sum, { ms }) => sum + ms, 0)
  return { ...(await predictor.predict({ concurrency, limits }, slice())), workMs, pathMs }
}

describe('Predictor', () => {
  it('makes each call once, behind what it depends on, one at a time on each worker', async () => {
    await fc.assert(
      fc.asyncProperty(anyTargets, fc.integer({ min: 1, max: 4 }), async (targets, concurrency) => {
        const { calls, makespanMs, workMs, pathMs, busyMs } = await predicted(targets, concurrency)
        const all = targets.flatMap(({ branches, ...each }) => branches ?? [each])
        const made = all.filter((each) => each.expected !== undefined)
        expect(calls.map((call) => call.target).sort()).toEqual(made.map(({ name }) => name).sort())
        expect(makespanMs).toBeGreaterThanOrEqual(pathMs)
        expect(makespanMs).toBeGreaterThanOrEqual(workMs / concurrency)
        expect(makespanMs).toBeLessThanOrEqual(workMs)
        expect(busyMs.length).toBeLessThanOrEqual(concurrency)
        expect(busyMs.reduce((sum, ms) => sum + ms, 0)).toBe(workMs)
        const spans = new Map(calls.map((call) => [call.target, call]))
        for (const [place, { branches, name, sources }] of targets.entries()) {
          for (const own of branches?.map((branch) => branch.name) ?? [name]) {
            const { from = Number.POSITIVE_INFINITY } = spans.get(own) ?? {}
            for (const source of sources)
              expect(endOf(targets[source], spans)).toBeLessThanOrEqual(from)
          }
          expect(place).toBeGreaterThanOrEqual(0)
        }
        for (const worker of busyMs.keys()) {
          const own = calls.filter((call) => call.worker === worker)
          for (const [at, { from }] of own.entries()) {
            expect(from).toBeGreaterThanOrEqual(own[at - 1]?.to ?? 0)
          }
        }
      }),
    )
  })

  it('takes the longest path with a worker for each call, and all work with one', async () => {
    await fc.assert(
      fc.asyncProperty(anyTargets, async (targets) => {
        const wide = await predicted(targets, 100)
        expect(wide.makespanMs).toBe(wide.pathMs)
        const narrow = await predicted(targets, 1)
        expect(narrow.makespanMs).toBe(narrow.workMs)
      }),
    )
  })

  it('takes the work by the workers where nothing depends on anything', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 9 }),
        async (concurrency, rounds, ms) => {
          const targets = Array.from({ length: concurrency * rounds }, (_, at) => ({
            ...{ name: `t${at}`, sources: [], needs: [], expected: ms },
          }))
          const { makespanMs, workMs, busyMs } = await predicted(targets, concurrency)
          expect(makespanMs).toBe(workMs / concurrency)
          expect(busyMs).toEqual(Array.from({ length: concurrency }, () => makespanMs))
        },
      ),
    )
  })

  it('waits for resources as a run does, and refuses what a run refuses', async () => {
    const targets = [0, 1, 2].map((at): PredictedTarget => {
      return { name: `t${at}`, sources: [], needs: [['gpu', 1]], expected: 10 }
    })
    const predictor = await predictorOf(targets)
    const bounds = { concurrency: 3, limits: { gpu: 1 } }
    expect((await predictor.predict(bounds, slice())).makespanMs).toBe(30)
    const refused = predictor.predict({ concurrency: 3, limits: {} }, slice())
    expect(await refusal(refused)).toMatchObject({ code: 'EINVAL' })
  })
})

/** The time at which a target has ended. */
function endOf(
  target: PredictedTarget | undefined,
  spans: ReadonlyMap<string, { readonly to: number }>,
): number {
  const names = target?.branches?.map(({ name }) => name) ?? [target?.name ?? '']
  return Math.max(0, ...names.map((name) => spans.get(name)?.to ?? 0))
}

it('enoughOf() tells the least number of workers that is within a hundredth of the best', () => {
  const of = (...times: readonly number[]) =>
    enoughOf(times.map((makespanMs, at) => ({ workers: at + 1, makespanMs, busyMs: [] })))
  expect(of(100, 50, 34, 33.9, 33.8)).toEqual({ enough: 3 })
  // The best is the last one: more may be of use.
  expect(of(100, 50, 34)).toEqual({})
  expect(of(7, 7)).toEqual({ enough: 1 })
})

describe('plan()', () => {
  let store: Store
  beforeEach(async () => {
    store = await open()
    for (const name of Object.keys(fn.calls)) delete fn.calls[name]
  })
  afterEach(() => store.close())

  const flow = (length: number, version = 1) => {
    const numbers = target('numbers', [length], fn.numbers)
    const squares = map('squares', [numbers], fn.square)
    return target('sum', [squares], fn.sum, { version })
  }

  it('tells what a run would make, with the times of the last one, and makes nothing', async () => {
    const names = async (...of: Parameters<typeof flow>) => {
      const planned = await plan(flow(...of), { store, concurrency: 2 })
      return { ...planned, names: planned.calls.map((call) => call.target) }
    }
    // Nobody knows how many squares there will be.
    expect(await names(3)).toMatchObject({
      ...{ names: ['numbers', 'squares[0]', 'sum'], found: 0, unknown: 3, makespanMs: 3 },
    })
    expect(fn.calls).toEqual({})
    const made = run(flow(3), { store, concurrency: 2 })
    await made.result
    expect(await names(3)).toMatchObject({ names: [], found: 5, makespanMs: 0, path: [] })
    expect(await names(3, 2)).toMatchObject({ names: ['sum'], found: 4, unknown: 0 })
    const all = ['numbers', 'squares[0]', 'squares[1]', 'squares[2]', 'sum']
    const changed = await names(4)
    expect(changed.names).toEqual(all)
    expect([changed.found, changed.unknown]).toEqual([0, 0])
    expect(changed.path.map((each) => each.target)).toEqual(['numbers', 'squares', 'sum'])
    const predicted = await plan(flow(4), { store, predict: 3 })
    expect(predicted.predictions?.map(({ workers }) => workers)).toEqual([1, 2, 3])
    expect(predicted.predictions?.[0]?.makespanMs).toBeCloseTo(predicted.workMs)
    const wrong = plan(flow(4), { store, predict: 257 })
    expect(await refusal(wrong)).toMatchObject({ code: 'EINVAL' })
  })

  it('the status of a run tells what was to be expected of it, where times were known', async () => {
    const runs = runsOf({ store })
    const statusOf = async (of: ReturnType<typeof flow>) => {
      const made = run(of, { store, concurrency: 2 })
      await made.result
      return runs.status(made.id ?? '')
    }
    expect((await statusOf(flow(3))).predictedMs).toBeUndefined()
    const again = await statusOf(flow(3, 2))
    expect(again).toMatchObject({ counts: { made: 1, found: 4 }, predictedMs: expect.any(Number) })
  })
})
