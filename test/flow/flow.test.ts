/** Runs in this process: results, branches, events, failures, cancellation, signals and packed inputs.
 *  See rfc/24, rules 3 and 5 to 11. */

import { getEventListeners, once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { FlowEvent, FlowRun, Target } from '../../src/api/flow.js'
import type { Packed } from '../../src/api/value.js'
import { deferred } from '../../src/base/deferred.js'
import { isCode } from '../../src/error.js'
import { cross, map, packed, run, target, targetSignal } from '../../src/flow/flow.js'

const code = (code: string, message = '') =>
  expect.objectContaining({ code, message: expect.stringContaining(message) })

/** The events of a run, each as its type and its target. */
async function toldBy(flow: FlowRun<unknown>): Promise<readonly string[]> {
  const told: string[] = []
  for await (const event of flow) told.push(textOf(event))
  return told
}

function textOf(event: FlowEvent): string {
  const { type, target } = event
  if (type === 'branch') return `${type} ${target} ${event.branches}`
  return type === 'skip' ? `${type} ${target} because ${event.because}` : `${type} ${target}`
}

/** The number of turns of the event loop until something is there. */
async function turnsOf(awaited: Promise<unknown>): Promise<number> {
  let turns = 0
  let isOver = false
  const count = async () => {
    for (; !isOver; turns++) await nextTurn()
  }
  const counted = count()
  await awaited
  isOver = true
  await counted
  return turns
}

/** Waits until the signal of the call aborts, and throws its reason. */
const sleeping = () => {
  const signal = targetSignal()
  return once(signal, 'abort').then(() => Promise.reject(signal.reason))
}

describe('run', () => {
  it('gives results in the form of what it is asked for', async () => {
    const one = target('one', [], () => 1)
    const two = target('two', [one], async (one) => one + 1)
    expect(await run(two).result).toBe(2)
    expect(await run([two, one, two]).result).toEqual([2, 1, 2])
    expect(await run({ a: two, b: { c: [one] }, d: undefined }).result).toEqual({
      a: 2,
      b: { c: [1] },
    })
    expect(await run([]).result).toEqual([])
    expect(await run({}).result).toEqual({})
  })

  it('begins in a later turn, whether or not somebody reads its events', async () => {
    let called = false
    const made = target('made', [], () => {
      called = true
    })
    const { result } = run(made)
    for (let microtasks = 0; microtasks < 100; microtasks++) await undefined
    expect(called).toBe(false)
    await result
    expect(called).toBe(true)
  })

  it('calls a target once, whoever depends on it, and anew in each run', async () => {
    let calls = 0
    const one = target('one', [], () => ++calls)
    const both = target('both', [one, [one], { one }], (a, [b], { one: c }) => [a, b, c])
    expect(await run([one, both, one]).result).toEqual([1, [1, 1, 1], 1])
    expect(await run(both).result).toEqual([2, 2, 2])
  })

  it('goes through a chain of 100,000', async () => {
    let last: Target<number> = target('t0', [], () => 0)
    for (let at = 1; at < 100_000; at++) last = target(`t${at}`, [last], (number) => number + 1)
    expect(await run(last).result).toBe(99_999)
  })

  it('goes through a chain of 10,000 functions that promise', async () => {
    let last: Target<number> = target('t0', [], () => 0)
    for (let at = 1; at < 10_000; at++) last = target(`t${at}`, [last], async (one) => one + 1)
    expect(await run(last).result).toBe(9_999)
  })

  it('lets the event loop turn while it makes 30,000 short targets, and while these are told', async () => {
    const all = Array.from({ length: 30_000 }, (_, at) => target(`t${at}`, [], () => at))
    const flow = run(target('join', [all], (all) => all.length))
    expect(await turnsOf(flow.result)).toBeGreaterThan(5)
    expect(await flow.result).toBe(30_000)
    expect(await turnsOf(toldBy(flow))).toBeGreaterThan(5)
  })

  it('calls as many at a time as it is told', async () => {
    for (const concurrency of [1, 3]) {
      let running = 0
      let most = 0
      const all = Array.from({ length: 10 }, (_, at) =>
        target(`t${at}`, [], async () => {
          most = Math.max(most, ++running)
          await nextTurn()
          running--
        }),
      )
      await run(all, { concurrency }).result
      expect(most).toBe(concurrency)
    }
  })

  it('keeps within the limits, for branches too', async () => {
    let running = 0
    let most = 0
    const xs = target('xs', [], () => [1, 2, 3, 4, 5])
    const call = async () => {
      most = Math.max(most, ++running)
      await nextTurn()
      running--
    }
    const all = map('all', [xs], call, { needs: { gpu: 2 } })
    await run(all, { concurrency: 8, limits: { gpu: 5 } }).result
    expect(most).toBe(2)
  })

  it('refuses what is wrong in the graph before it calls anything', async () => {
    let calls = 0
    const one = target('one', [], () => ++calls)
    const same = target('one', [], () => ++calls)
    await expect(run([one, same]).result).rejects.toEqual(code('EINVAL', 'the name one'))
    const needs = target('two', [one], () => ++calls, { needs: { gpu: 2 } })
    await expect(run([one, needs]).result).rejects.toEqual(code('EINVAL', 'target two needs 2'))
    const { result } = run([one, needs], { limits: { gpu: 1 } })
    await expect(result).rejects.toEqual(code('EINVAL', 'the run has 1 of it'))
    expect(calls).toBe(0)
  })

  it('gives a function that calls run a run of its own', async () => {
    const inner = target('same', [], () => targetSignal())
    const outer = target('same', [], async () => {
      const signal = targetSignal()
      return (await run(inner, { concurrency: 1 }).result) !== signal
    })
    expect(await run(outer, { concurrency: 1 }).result).toBe(true)
  })
})

describe('map and cross', () => {
  const list = (name: string, items: readonly number[]) => target(name, [], () => [...items])

  it('equal the loops that they stand for', async () => {
    const numbers = fc.array(fc.nat(9), { maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(numbers, numbers, numbers, async (a, b, c) => {
        const [xs, ys, zs] = [list('xs', a), list('ys', b), list('zs', c)]
        const mapped = map('mapped', [xs, ys, 7], (x, ys, seven) => [x, ys.length, seven])
        const crossed = cross('crossed', [xs, ys, zs], async (x, y, z) => `${x}${y}${z}`)
        const again = map('again', [mapped], ([x = 0]) => x + 1)
        const squares = cross('squares', [again, again], (x, y) => x * y)
        const result = await run({ mapped, crossed, squares }, { concurrency: 3 }).result
        expect(result).toEqual({
          mapped: a.map((x) => [x, b.length, 7]),
          crossed: a.flatMap((x) => b.flatMap((y) => c.map((z) => `${x}${y}${z}`))),
          squares: a.flatMap((x) => a.map((y) => (x + 1) * (y + 1))),
        })
      }),
    )
  })

  it('are a chain of 10,000 of which each is empty', async () => {
    let last: Target<number[]> = list('xs', [])
    for (let at = 0; at < 10_000; at++) last = map(`m${at}`, [last], (x) => x)
    expect(await run(last).result).toEqual([])
  })

  it('go through arrays in arrays', async () => {
    const rows = target('rows', [], () => [[1, 2], [], [3]])
    const sums = map('sums', [rows], (row) => row.reduce((sum, item) => sum + item, 0))
    expect(await run(sums).result).toEqual([3, 0, 3])
  })

  it('give their array itself, too, to who asks', async () => {
    const xs = list('xs', [1, 2])
    const shares = map('shares', [xs, xs], (x, all) => x / all.length)
    expect(await run(shares).result).toEqual([0.5, 1])
  })

  it.each<{ readonly value: unknown }>([
    { value: undefined },
    { value: { length: 1 } },
    { value: 'ab' },
    { value: new Uint8Array(2) },
  ])('fail with $value, which is no array', async ({ value }) => {
    const xs = target('xs', [], () => value) as unknown as Target<unknown[]>
    const flow = run(map('all', [xs], () => 1))
    const message = 'the result of xs, which all goes through, is no array'
    expect(await toldBy(flow)).toEqual(['start xs', 'finish xs', 'fail all'])
    await expect(flow.result).rejects.toEqual(code('EINVAL', message))
  })

  it('fail if their branches are too many', async () => {
    const xs = target('xs', [], () => new Array<number>(1_000))
    const flow = run([cross('all', [xs, xs], () => 1), target('one', [], () => 1)], {
      onError: 'continue',
    })
    expect((await toldBy(flow)).toSorted()).toEqual([
      'fail all',
      'finish one',
      'finish xs',
      'start one',
      'start xs',
    ])
    await expect(flow.result).rejects.toEqual(code('E2BIG', 'all has 1000000 branches'))
  })
})

describe('events', () => {
  it('come in the order in which things happen, to each who reads, from the first one', async () => {
    const xs = target('xs', [], () => [1, 2])
    const all = cross('all', [xs, xs], (x, y) => x * y)
    const none = map('none', [target('ys', [], () => [])], () => 1)
    const flow = run({ all, none }, { concurrency: 1 })
    const told = [
      ...['start xs', 'finish xs', 'branch all 4', 'start ys', 'finish ys'],
      ...['branch none 0', 'finish none'],
      ...['start all[0,0]', 'finish all[0,0]', 'start all[0,1]', 'finish all[0,1]'],
      ...['start all[1,0]', 'finish all[1,0]', 'start all[1,1]', 'finish all[1,1]', 'finish all'],
    ]
    expect(await toldBy(flow)).toEqual(told)
    expect(await toldBy(flow)).toEqual(told)
  })

  it('come while the run goes on, with the time of each and of the call', async () => {
    const held = deferred<number>()
    const began = Date.now()
    const flow = run(target('a', [], () => held.promise))
    const events = flow[Symbol.asyncIterator]()
    const start = await events.next()
    const next = events.next()
    held.resolve(1)
    const finish = await next
    expect(start.value).toEqual({ type: 'start', target: 'a', at: expect.any(Number) })
    expect(finish.value).toMatchObject({ type: 'finish', target: 'a', ms: expect.any(Number) })
    expect(await events.next()).toEqual({ done: true, value: undefined })
    for (const { value } of [start, finish]) {
      expect(value?.at).toBeGreaterThanOrEqual(began)
      expect(value?.at).toBeLessThanOrEqual(Date.now())
    }
  })

  it('end for a reader who leaves, and the run goes on', async () => {
    const flow = run(target('b', [target('a', [], () => 1)], (one) => one + 1))
    for await (const { type } of flow) if (type === 'start') break
    expect(await flow.result).toBe(2)
  })
})

describe('failures', () => {
  const thrown = new Error('thrown')
  const fail = () => {
    throw thrown
  }

  it('reject with what was thrown, as it is, whatever it is', async () => {
    for (const error of [thrown, 'text', undefined, 0]) {
      for (const fn of [
        () => {
          throw error
        },
        () => Promise.reject(error),
      ]) {
        const { result } = run(target('bad', [], fn))
        const told = await result.then(
          () => 'resolved',
          (reason: unknown) => ({ reason }),
        )
        expect(told).toEqual({ reason: error })
      }
    }
  })

  it('stop the run: what runs is told, and awaited', async () => {
    let ended = false
    const slow = target('slow', [], async () => {
      await sleeping().catch(() => {})
      await nextTurn()
      ended = true
    })
    const bad = target('bad', [], async () => fail())
    const flow = run({ slow, bad, later: target('later', [slow], () => 1) }, { concurrency: 2 })
    await expect(flow.result).rejects.toBe(thrown)
    expect(ended).toBe(true)
    expect(await toldBy(flow)).toEqual(['start slow', 'start bad', 'fail bad', 'finish slow'])
  })

  it('give no branches to a map whose array comes later', async () => {
    const xs = target('xs', [], () => sleeping().catch(() => [1]))
    const flow = run([map('all', [xs], (x) => x), target('bad', [], async () => fail())], {
      concurrency: 2,
    })
    expect(await toldBy(flow)).toEqual(['start xs', 'start bad', 'fail bad', 'finish xs'])
    await expect(flow.result).rejects.toBe(thrown)
  })

  it('give no branches to a map whose array comes in the same turn', async () => {
    const xs = target('xs', [], async () => [1])
    const flow = run([map('all', [xs], (x) => x), target('bad', [], async () => fail())], {
      concurrency: 2,
    })
    expect(await toldBy(flow)).toEqual(['start xs', 'start bad', 'finish xs', 'fail bad'])
    await expect(flow.result).rejects.toBe(thrown)
  })

  it('tell those that run why they are stopped', async () => {
    let reason: unknown
    const slow = target('slow', [], () => sleeping().catch((error: unknown) => (reason = error)))
    const bad = target('bad', [], async () => fail())
    await expect(run([slow, bad], { concurrency: 2 }).result).rejects.toBe(thrown)
    expect(reason).toEqual(code('ECANCELED', 'the run ends, since target bad failed'))
    expect(reason).toMatchObject({ cause: thrown })
  })

  it('skip what depends on them, also where the run stops', async () => {
    const bad = target('bad', [], fail)
    const flow = run(target('c', [target('b', [bad], () => 1)], () => 1))
    expect(await toldBy(flow)).toEqual([
      'start bad',
      'fail bad',
      'skip b because bad',
      'skip c because bad',
    ])
    await expect(flow.result).rejects.toBe(thrown)
  })

  it('of a branch let the others go on, where the run does, and skip the whole', async () => {
    const xs = target('xs', [], () => [0, 1, 2])
    const all = map('all', [xs], async (x) => (x === 1 ? fail() : x))
    const flow = run(
      target('last', [all], () => 1),
      { onError: 'continue', concurrency: 1 },
    )
    expect(await toldBy(flow)).toEqual([
      ...['start xs', 'finish xs', 'branch all 3', 'start all[0]', 'finish all[0]'],
      ...['start all[1]', 'fail all[1]', 'skip all because all[1]', 'skip last because all[1]'],
      ...['start all[2]', 'finish all[2]'],
    ])
    await expect(flow.result).rejects.toBe(thrown)
  })

  it('of the last branch skip the whole as well', async () => {
    const xs = target('xs', [], () => [0, 1])
    for (const onError of ['stop', 'continue'] as const) {
      const all = map('all', [xs], (x) => (x === 1 ? fail() : x))
      const flow = run(all, { onError, concurrency: 1 })
      expect((await toldBy(flow)).at(-1)).toBe('skip all because all[1]')
      await expect(flow.result).rejects.toBe(thrown)
    }
  })

  it('are no unhandled rejections to who reads the events first', async () => {
    const unhandled: unknown[] = []
    const note = (error: unknown) => unhandled.push(error)
    process.on('unhandledRejection', note)
    try {
      const flow = run(target('bad', [], fail))
      await toldBy(flow)
      for (let turns = 0; turns < 5; turns++) await nextTurn()
      await expect(flow.result).rejects.toBe(thrown)
      expect(unhandled).toEqual([])
    } finally {
      process.off('unhandledRejection', note)
    }
  })
})

describe('the signal of a run', () => {
  it('begins nothing more, tells what runs, and awaits it', async () => {
    const canceling = new AbortController()
    const began = deferred<void>()
    const held = deferred<void>()
    let isSettled = false
    const slow = target('slow', [], async () => {
      began.resolve()
      await sleeping().catch(() => {})
      await held.promise
    })
    const flow = run(
      target('later', [slow], () => 1),
      { signal: canceling.signal },
    )
    const settled = flow.result.then(
      () => 'made',
      (error: unknown) => {
        isSettled = true
        return error
      },
    )
    await began.promise
    canceling.abort()
    for (let turns = 0; turns < 5; turns++) await nextTurn()
    expect(isSettled).toBe(false)
    held.resolve()
    expect(await settled).toEqual(code('ECANCELED'))
    expect(await toldBy(flow)).toEqual(['start slow', 'finish slow'])
  })

  it('is aborted already: nothing begins', async () => {
    const flow = run(
      target('a', [], () => 1),
      { signal: AbortSignal.abort() },
    )
    await expect(flow.result).rejects.toEqual(code('ECANCELED'))
    expect(await toldBy(flow)).toEqual([])
  })

  it('that runs out of time gives ETIMEDOUT', async () => {
    const flow = run(target('a', [], sleeping), { signal: AbortSignal.timeout(1) })
    await expect(flow.result).rejects.toEqual(code('ETIMEDOUT'))
  })

  it('is aborted by a function: that one ends, and no other begins', async () => {
    const canceling = new AbortController()
    const a = target('a', [], () => canceling.abort())
    const flow = run(
      target('b', [a], () => 1),
      { signal: canceling.signal },
    )
    await expect(flow.result).rejects.toEqual(code('ECANCELED'))
    expect(await toldBy(flow)).toEqual(['start a', 'finish a'])
  })

  it('has no listener of the run when that has ended', async () => {
    const { signal } = new AbortController()
    const listeners = () => getEventListeners(signal, 'abort').length
    expect(await run(target('a', [], listeners), { signal }).result).toBe(1)
    expect(listeners()).toBe(0)
  })
})

describe('targetSignal', () => {
  it('is for functions and what they call, before their first await', async () => {
    expect(() => targetSignal()).toThrow(code('EINVAL', 'targetSignal() is for functions'))
    const called = () => targetSignal()
    const a = target('a', [], async () => {
      const before = targetSignal()
      expect(called()).toBe(before)
      await nextTurn()
      expect(called).toThrow(code('EINVAL'))
      return before instanceof AbortSignal
    })
    expect(await run([a, target('b', [], () => called())]).result).toEqual([
      true,
      expect.any(AbortSignal),
    ])
    await expect(
      run(target('bad', [], () => Promise.reject(called()))).result,
    ).rejects.toBeDefined()
    expect(called).toThrow(code('EINVAL'))
  })

  it('stays as it is once its call has ended', async () => {
    const signals: AbortSignal[] = []
    const a = target('a', [], () => {
      signals.push(targetSignal())
    })
    const bad = target('bad', [a], () => {
      signals.push(targetSignal())
      throw new Error('bad')
    })
    await expect(run(bad).result).rejects.toThrow('bad')
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, false])
  })

  it('takes many listeners without a warning', async () => {
    const warnings: unknown[] = []
    const note = (warning: unknown) => warnings.push(warning)
    process.on('warning', note)
    try {
      const canceling = new AbortController()
      const all = Array.from({ length: 40 }, (_, at) => target(`t${at}`, [], sleeping))
      const flow = run(all, { concurrency: 40, signal: canceling.signal })
      let started = 0
      for await (const { type } of flow) {
        if (type === 'start' && ++started === all.length) canceling.abort()
      }
      await expect(flow.result).rejects.toEqual(code('ECANCELED'))
      await nextTurn()
      expect(warnings).toEqual([])
    } finally {
      process.off('warning', note)
    }
  })
})

describe('packed inputs', () => {
  it('are the packed results, which functions pass on or open', async () => {
    const rows = target('rows', [], () => [{ a: 1 }, { a: 2 }])
    const sum = target('sum', [packed(rows)], (rows) =>
      rows.use((rows) => rows.reduce((sum, { a }) => sum + a, 0)),
    )
    const both = target('both', [[packed(rows)], rows], async ([packed], rows) => {
      const [bytes, again] = [await packed?.bytes(), await packed?.open()]
      return [bytes instanceof Uint8Array, again?.value, rows]
    })
    const value = [{ a: 1 }, { a: 2 }]
    expect(await run({ sum, both }).result).toEqual({ sum: 3, both: [true, value, value] })
  })

  it('are packed once for all who ask, bytes and typed arrays without a copy', async () => {
    const bytes = new Uint8Array([1, 2, 3])
    const floats = new Float64Array([1, 2])
    const [a, b] = [target('a', [], () => bytes), target('b', [], () => floats)]
    const same = (name: string) =>
      target(name, [packed(a), packed(b)], async (a, b) => [
        a,
        (await a.open()).value.buffer === bytes.buffer,
        (await b.open()).value.buffer === floats.buffer,
      ])
    const [one, other] = await run([same('one'), same('other')] as const).result
    expect(one.slice(1)).toEqual([true, true])
    expect(one[0]).toBe(other[0])
  })

  it('are closed once the last that needs them has ended', async () => {
    let kept: Packed<number[]> | undefined
    const xs = target('xs', [], () => [1])
    const first = target('first', [packed(xs)], (xs) => {
      kept = xs
      return xs.use((xs) => xs.length)
    })
    const later = target('later', [first], async () => {
      await nextTurn()
      return kept?.open()
    })
    await expect(run(later).result).rejects.toEqual(code('ECLOSED'))
  })

  it('fail the target that asks for what no codec takes', async () => {
    const fn = target('fn', [], () => () => 1)
    const flow = run(target('asks', [packed(fn)], () => 1))
    await expect(flow.result).rejects.toSatisfy((error) => isCode(error, 'EINVAL'))
    expect((await toldBy(flow)).at(-1)).toBe('fail asks')
  })
})
