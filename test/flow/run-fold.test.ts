/** The state of a run, folded from its log, and the estimate of its end. See rfc/26, rules 8 and 9. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Event, EventContext } from '../../src/api/event.js'
import type { TargetState } from '../../src/api/flow-look.js'
import { estimate } from '../../src/flow/estimate.js'
import { RunFold } from '../../src/flow/run-fold.js'
import type { RunGraph } from '../../src/flow/run-graph.js'

const graph: RunGraph = [
  { name: 'a', sources: [], hasBranches: false, needs: [] },
  { name: 'b', sources: [0], hasBranches: false, needs: [] },
  { name: 'm', sources: [0], hasBranches: true, needs: [] },
  { name: 'z', sources: [1, 2], hasBranches: false, needs: [] },
]
const names = ['a', 'b', 'z', 'm', 'm[0]', 'm[1]', 'm[2]', 'strange', 'b[0]']

const anyEvent: fc.Arbitrary<Event> = fc
  .record({
    timestamp: fc.integer({ min: 0, max: 100 }),
    name: fc.constantFrom(
      'begin',
      'start',
      'hit',
      'finish',
      'branch',
      'fail',
      'skip',
      'retry',
      'end',
    ),
    target: fc.constantFrom(...names),
    number: fc.nat(3),
  })
  .map(({ timestamp, name, target, number }) => ({
    ...{ timestamp, name },
    context: { target, ms: number, branches: number, error: `no ${number}` },
  }))

function foldOf(events: readonly Event[], of: RunGraph | undefined = graph): RunFold {
  const fold = new RunFold(of)
  for (const event of events) fold.take(event)
  return fold
}

/** A log as a run of the graph writes it: `m` has as many branches as `branches` tells. */
const wholeLog = fc
  .record({
    branches: fc.nat(4),
    ends: fc.array(fc.constantFrom('finish', 'hit', 'fail'), { minLength: 8, maxLength: 8 }),
  })
  .map(({ branches, ends }) => {
    const events: Event[] = []
    const say = (name: string, context: EventContext) =>
      events.push({ timestamp: events.length, name, context })
    const make = (target: string, end: string) => {
      if (end !== 'hit') say('start', { target })
      if (end === 'finish') say('finish', { target, ms: 10 })
      else say(end, end === 'fail' ? { target, error: 'on purpose' } : { target })
      return end !== 'fail'
    }
    const [a = '', b = '', z = '', ...ofBranches] = ends
    const hasA = make('a', a)
    const hasB = hasA ? make('b', b) : say('skip', { target: 'b', because: 'a' }) < 0
    let hasM = hasA
    if (hasA) say('branch', { target: 'm', branches })
    else say('skip', { target: 'm', because: 'a' })
    for (let at = 0; hasA && at < branches; at++) {
      hasM = make(`m[${at}]`, ofBranches[at] ?? 'finish') && hasM
    }
    if (hasA && hasM) say('finish', { target: 'm', ms: 5 })
    else if (hasA) say('skip', { target: 'm', because: 'm[0]' })
    if (hasB && hasM) make('z', z)
    else say('skip', { target: 'z', because: 'b' })
    say('end', {})
    return { events, branches: hasA ? branches : 1 }
  })

describe('RunFold', () => {
  it('counts each target once, at any beginning of any log', () => {
    fc.assert(
      fc.property(
        fc.array(anyEvent, { maxLength: 40, size: 'max' }),
        fc.boolean(),
        (events, hasGraph) => {
          const fold = new RunFold(hasGraph ? graph : undefined)
          const known = new Map<string, number>()
          for (const event of events) {
            fold.take(event)
            const { counts } = fold
            for (const count of Object.values(counts)) expect(count).toBeGreaterThanOrEqual(0)
            const target = event.context?.['target']
            if (event.name === 'branch' && target === 'm' && !known.has('m')) {
              known.set('m', event.context?.['branches'] as number)
            }
            const branches = known.get('m')
            const total = 4 + (branches === undefined ? 0 : branches - 1)
            const sum = Object.values(counts).reduce((all, each) => all + each, 0)
            // A log in which more branches run than there are is none of a run.
            if (hasGraph) expect(sum).toBeGreaterThanOrEqual(total)
            if (hasGraph) expect(sum - counts.running).toBeLessThanOrEqual(total)
          }
        },
      ),
    )
  })

  it('knows at the end of a whole log what became of each target', () => {
    fc.assert(
      fc.property(wholeLog, ({ events, branches }) => {
        const fold = foldOf(events)
        const ends = (state: TargetState, type: string) =>
          expect(fold.counts[state]).toBe(
            events.filter(({ name, context }) => {
              const isBranched = context?.['target'] === 'm' && fold.branchesOf('m') !== undefined
              return name === type && !isBranched
            }).length,
          )
        ends('made', 'finish')
        ends('found', 'hit')
        ends('failed', 'fail')
        ends('skipped', 'skip')
        expect([fold.counts.running, fold.counts.waiting]).toEqual([0, 0])
        const sum = Object.values(fold.counts).reduce((all, each) => all + each, 0)
        expect(sum).toBe(3 + branches)
        expect(fold.failures.length).toBe(fold.counts.failed)
        // Without the graph it counts the same, but for what waits.
        const { waiting: _, ...counts } = foldOf(events, undefined).counts
        expect(fold.counts).toMatchObject(counts)
      }),
    )
  })

  it('ignores events that it does not know, and knows what runs', () => {
    const fold = foldOf([
      { timestamp: 1, name: 'begin', context: {} },
      { timestamp: 2, name: 'start', context: { target: 'a' } },
      { timestamp: 3, name: 'retry', context: { target: 'a' } },
      { timestamp: 4, name: 'start', context: { target: 'a' } },
      { timestamp: 5, name: 'lost', context: { worker: 'w1' } },
    ])
    expect([fold.running, fold.last]).toEqual([[{ target: 'a', since: 4_000 }], 5_000])
  })
})

describe('estimate()', () => {
  const times = {
    ms: new Map([
      ['a', 10],
      ['b', 50],
      ['z', 20],
    ]),
    branches: new Map(),
  }
  const at = (events: readonly Event[], concurrency: number, now = 0) =>
    estimate(graph, foldOf(events), times, { concurrency, now })

  it('is the longest path of what is left, or the work by the calls at the same time', () => {
    expect(at([], 100)).toMatchObject({ done: 0, leftMs: 80, path: ['a', 'b', 'z'] })
    // `m` counts as one branch of the mean time, 80 / 3.
    expect(at([], 1).leftMs).toBeCloseTo(80 + 80 / 3)
  })

  it('counts what a target that runs has done, and what has ended', () => {
    const events = [
      { timestamp: 0, name: 'start', context: { target: 'a' } },
      { timestamp: 0.01, name: 'finish', context: { target: 'a', ms: 10 } },
      { timestamp: 0.01, name: 'start', context: { target: 'b' } },
    ]
    expect(at(events, 100, 40)).toMatchObject({ leftMs: 40, path: ['b', 'z'] })
    // One that takes longer than expected has nothing left.
    expect(at(events, 100, 400)).toMatchObject({ leftMs: 30, path: ['m', 'z'] })
  })

  it('takes the mean of the branches that were made, and is bounded by path and work', () => {
    fc.assert(
      fc.property(
        wholeLog,
        fc.nat(30),
        fc.integer({ min: 1, max: 4 }),
        ({ events }, cut, concurrency) => {
          const before = events.slice(0, cut)
          const { done, leftMs, path } = at(before, concurrency, before.length * 1_000)
          expect(done).toBeGreaterThanOrEqual(0)
          expect(done).toBeLessThanOrEqual(1)
          const one = at(before, 1, before.length * 1_000).leftMs ?? 0
          expect(leftMs).toBeLessThanOrEqual(one)
          expect(leftMs).toBeGreaterThanOrEqual(one / concurrency - 1e-9)
          if (cut >= events.length) expect([done, leftMs, path]).toEqual([1, 0, []])
        },
      ),
    )
  })
})
