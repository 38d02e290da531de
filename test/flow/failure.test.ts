/** Targets that fail: what comes of them, calls again, and time limits. See rfc/24, rules 9, 29 and 30. */

import { once } from 'node:events'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type FailureMode,
  type FlowEvent,
  retryDelayMax,
  type Target,
  type TargetOptions,
} from '../../src/api/flow.js'
import { deferred } from '../../src/base/deferred.js'
import { LoopSlice } from '../../src/base/loop-slice.js'
import { graceMs } from '../../src/flow/call-limit.js'
import { drive, type RunBounds } from '../../src/flow/drive.js'
import { RunEvents } from '../../src/flow/events.js'
import { retryWaitOf } from '../../src/flow/failure.js'
import { map, packed, run, target, targetSignal } from '../../src/flow/flow.js'
import { Graph } from '../../src/flow/graph.js'
import { InProcess } from '../../src/flow/in-process.js'
import { TestClock } from '../clock.js'
import { foundOf, type RandomFlow, randomFlow, recordOf } from './random-flows.js'

const code = (code: string, message = '') =>
  expect.objectContaining({ code, message: expect.stringContaining(message) })

/** A run on a clock that the test moves. `random` gives the longest waits. */
function started(
  wanted: readonly Target<unknown>[],
  { concurrency = 1, ...bounds }: Partial<RunBounds> = {},
) {
  const moved = new TestClock()
  let blockedMs = 0
  const monotonic = () => moved.monotonic() + blockedMs
  const clock = { monotonic, timer: moved.timer, random: () => 0 }
  const events = new RunEvents()
  const slice = new LoopSlice()
  const going = async () => {
    const graph = await Graph.of(wanted.map(recordOf), slice)
    const options: RunBounds = {
      ...{ concurrency, limits: { gpu: 1 }, onError: 'stop', signal: undefined },
      ...bounds,
    }
    const parts = { graph, maker: new InProcess(), events, slice, options, clock }
    return drive(parts, (made) => made).finally(() => events.end())
  }
  const result = going()
  result.catch(() => {})
  /** Lets time go on in which no timer has a turn. */
  const block = (ms: number) => {
    blockedMs += ms
  }
  return { result, events, clock: moved, block }
}

async function toldBy(events: AsyncIterable<FlowEvent>): Promise<readonly string[]> {
  const told: string[] = []
  for await (const { type, target } of events) told.push(`${type} ${target}`)
  return told
}

/** Waits for a condition that holds some turns of the event loop later. */
async function until(holds: () => boolean): Promise<void> {
  for (let turns = 0; !holds(); turns++) {
    if (turns > 100_000) throw new Error('it never holds')
    await nextTurn()
  }
}

const mode = fc.constantFrom<FailureMode | undefined>(undefined, 'continue', 'null')
const failing = fc.record({ failures: fc.constantFrom(0, 0, 0, 1, 2), retries: fc.nat(2), mode })
type Failing = {
  readonly failures: number
  readonly retries: number
  readonly mode: FailureMode | undefined
}
type Outcome = { readonly calls: number; readonly ends: string; readonly value?: string | null }

/** The simplest model: the calls of each target, how it ends, and its result. */
function outcomesOf(
  flow: RandomFlow,
  failings: readonly Failing[],
  ofRun: FailureMode,
): ReadonlyMap<number, Outcome> {
  const outcomes = new Map<number, Outcome>()
  for (const at of foundOf(flow)) {
    const inputs = flow.targets[at]?.sources.map((source) => outcomes.get(source)?.value) ?? []
    const { failures, retries, mode = ofRun } = failings[at] as Failing
    const calls = Math.min(failures, retries) + 1
    if (inputs.includes(undefined)) outcomes.set(at, { calls: 0, ends: 'skip' })
    else if (failures <= retries) {
      outcomes.set(at, { calls, ends: 'finish', value: `t${at}(${inputs.join()})` })
    } else {
      outcomes.set(at, { calls, ends: `fail ${mode}`, ...(mode === 'null' && { value: null }) })
    }
  }
  return outcomes
}

describe('a run goes on behind failures', () => {
  it('and calls, skips, leaves out and takes as null what the model does', async () => {
    await fc.assert(
      fc.asyncProperty(
        randomFlow,
        fc.array(failing, { minLength: 25, maxLength: 25 }),
        fc.constantFrom<FailureMode>('continue', 'null', 'trim'),
        fc.boolean(),
        async (flow, failings, onError, isLater) => {
          const calls = new Map<number, number>()
          const targets: Target<unknown>[] = []
          for (const [at, { sources }] of flow.targets.entries()) {
            const inputs = sources.flatMap((source) => targets[source] ?? [])
            const { failures, retries, mode } = failings[at] as Failing
            const fn = (...values: unknown[]) => {
              const call = (calls.get(at) ?? 0) + 1
              calls.set(at, call)
              if (call <= failures) throw new Error(`t${at}`)
              return `t${at}(${values.join()})`
            }
            const options: TargetOptions = {
              retries,
              retryDelayMs: 0,
              ...(mode && { onError: mode }),
            }
            const called: (...values: unknown[]) => unknown = isLater
              ? async (...values: unknown[]) => fn(...values)
              : fn
            targets.push(target(`t${at}`, inputs, called, options as TargetOptions<'stop'>))
          }
          const wanted = flow.wanted.flatMap((at) => targets[at] ?? [])
          const flowing = run(wanted, { onError, concurrency: 3 })
          const ends = new Map<number, string>()
          for await (const event of flowing) {
            const at = Number(event.target.slice(1))
            if (event.type === 'start' || event.type === 'retry') continue
            expect(ends.has(at)).toBe(false)
            ends.set(at, event.type === 'fail' ? `fail ${event.onError}` : event.type)
          }
          const outcomes = outcomesOf(flow, failings, onError)
          expect(ends).toEqual(new Map([...outcomes].map(([at, { ends }]) => [at, ends])))
          const called = [...outcomes].filter(([, { calls }]) => calls > 0)
          expect(calls).toEqual(new Map(called.map(([at, { calls }]) => [at, calls])))
          if ([...ends.values()].includes('fail continue')) {
            await expect(flowing.result).rejects.toThrow(/^t\d+$/)
          } else {
            expect(await flowing.result).toEqual(flow.wanted.map((at) => outcomes.get(at)?.value))
          }
        },
      ),
      { numRuns: 60 },
    )
  })

  it('with null or without the branches that failed', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.boolean(), { maxLength: 6 }),
        fc.constantFrom<'null' | 'trim'>('null', 'trim'),
        fc.boolean(),
        async (fails, onError, isOfRun) => {
          const places = target('places', [], () => fails.map((_, at) => at))
          const fn = (at: number) => {
            if (fails[at]) throw new Error('on purpose')
            return at === 0 ? undefined : at
          }
          const some = map('some', [places], fn, isOfRun ? {} : { onError })
          const count = target('count', [some], (all) => all.length)
          const made = await run({ some, count }, isOfRun ? { onError } : {}).result
          const expected = fails.flatMap((isBad, at) => {
            if (isBad) return onError === 'null' ? [null] : []
            return [at === 0 ? undefined : at]
          })
          expect(made).toEqual({ some: expected, count: expected.length })
        },
      ),
    )
  })

  it('but for a map that fails itself, for which the mode of the run holds', async () => {
    const none = target('none', [], () => 1) as unknown as Target<number[]>
    const nothing = map('nothing', [none], (each) => each, { onError: 'null' })
    await expect(run(nothing).result).rejects.toEqual(code('EINVAL', 'is no array'))
    expect(await run(nothing, { onError: 'null' }).result).toBe(null)
    expect(await run({ nothing }, { onError: 'trim' }).result).toEqual({ nothing: undefined })
  })

  it('and gives null packed to who takes it packed', async () => {
    const bad = target('bad', [], (): number => Number.NaN.toFixed(1_000).length, {
      onError: 'null',
    })
    const opened = target('opened', [packed(bad)], (value) => value.use((each) => [each]))
    expect(await run(opened).result).toEqual([null])
  })

  it('and ends at one that says stop', async () => {
    const bad = target('bad', [], () => Promise.reject(new Error('bad')), { onError: 'stop' })
    const flow = run([bad, target('next', [], () => 1)], { onError: 'null', concurrency: 1 })
    await expect(flow.result).rejects.toThrow('bad')
    expect(await toldBy(flow)).toEqual(['start bad', 'fail bad'])
  })

  it('but refuses to trim a target without branches', () => {
    const options = { onError: 'trim' } as unknown as TargetOptions<'null'>
    expect(() => target('t', [], () => 1, options)).toThrow(
      code('EINVAL', 'target t: onError trim'),
    )
  })
})

describe('a target that is called again', () => {
  it('waits twice as long each time, up to a bound, and less by chance', () => {
    expect([1, 2, 3].map((tries) => retryWaitOf(100, tries, 0))).toEqual([100, 200, 400])
    expect(retryWaitOf(100, 2, 0.5)).toBe(150)
    expect(retryWaitOf(100, 2, 0.9999)).toBe(100)
    expect(retryWaitOf(100, 1_000, 0)).toBe(retryDelayMax)
    expect(retryWaitOf(0, 1_000, 0)).toBe(0)
  })

  it('takes no place and no resource while it waits', async () => {
    let fails = true
    const flaky = () => {
      if (fails) throw new Error('not yet')
      return 'made'
    }
    const first = target('first', [], flaky, {
      ...{ retries: 2, retryDelayMs: 1_000, needs: { gpu: 1 } },
    })
    const other = target('other', [], () => 'other', { needs: { gpu: 1 } })
    const { result, events, clock } = started([first, other])
    await until(() => clock.timers === 1)
    clock.advance(999)
    await nextTurn()
    expect(clock.timers).toBe(1)
    clock.advance(1)
    await until(() => clock.timers === 1)
    fails = false
    clock.advance(2_000)
    expect(await result).toEqual(['made', 'other'])
    expect(await toldBy(events.read())).toEqual([
      ...['start first', 'retry first', 'start other', 'finish other'],
      ...['start first', 'retry first', 'start first', 'finish first'],
    ])
    const told: FlowEvent[] = []
    for await (const event of events.read()) if (event.type === 'retry') told.push(event)
    expect(told).toEqual([
      expect.objectContaining({ error: new Error('not yet'), tries: 1, waitMs: 1_000 }),
      expect.objectContaining({ error: new Error('not yet'), tries: 2, waitMs: 2_000 }),
    ])
  })

  it.each(['its own signal', 'another failure'])(
    'is given up when the run ends by %s',
    async (by) => {
      const canceling = new AbortController()
      const held = deferred<void>()
      const flaky = target('flaky', [], () => Promise.reject(new Error('not yet')), { retries: 1 })
      const other = target('other', [], () => held.promise, { retries: 0 })
      const { result, events, clock } = started([flaky, other], {
        ...{ concurrency: 2, signal: canceling.signal, retries: 5 },
      })
      await until(() => clock.timers === 1)
      if (by === 'another failure') held.reject(new Error('other'))
      else {
        canceling.abort()
        held.resolve()
      }
      await expect(result).rejects.toThrow(by === 'another failure' ? 'other' : 'canceled')
      expect(clock.timers).toBe(0)
      expect(await toldBy(events.read())).not.toContain('fail flaky')
    },
  )

  it('is so as often as the run says, if it says nothing itself, and fails with what it threw last', async () => {
    let calls = 0
    const flow = run(
      target('bad', [], () => Promise.reject(new Error(`call ${++calls}`)), { retryDelayMs: 0 }),
      { retries: 2 },
    )
    await expect(flow.result).rejects.toThrow('call 3')
    expect((await toldBy(flow)).at(-1)).toBe('fail bad')
  })

  it('is not, if it was stopped', async () => {
    const stopping = new AbortController()
    const slow = target('slow', [], () =>
      once(targetSignal(), 'abort').then(() => Promise.reject(1)),
    )
    const flow = run(slow, { retries: 3, signal: stopping.signal })
    for await (const { type } of flow) if (type === 'start') stopping.abort()
    await expect(flow.result).rejects.toEqual(code('ECANCELED'))
    expect(await toldBy(flow)).toEqual(['start slow', 'fail slow'])
  })
})

describe('a call that lasts too long', () => {
  const ends = async (signal: AbortSignal) => {
    await once(signal, 'abort')
    throw signal.reason
  }

  it('is told by its signal, and fails once it has ended', async () => {
    let reason: unknown
    const after = deferred<void>()
    const slow = target(
      'slow',
      [],
      async () => {
        const signal = targetSignal()
        await ends(signal).catch(() => {})
        reason = signal.reason
        await after.promise
        return 'too late'
      },
      { timeoutMs: 100 },
    )
    const { result, events, clock } = started([slow])
    await until(() => clock.timers === 1)
    clock.advance(99)
    await nextTurn()
    expect(reason).toBe(undefined)
    clock.advance(1)
    await until(() => reason !== undefined)
    const late = code('ETIMEDOUT', 'a call of target slow lasted longer than 100 ms')
    expect(reason).toEqual(late)
    after.resolve()
    await expect(result).rejects.toBe(reason)
    expect(clock.timers).toBe(0)
    expect(await toldBy(events.read())).toEqual(['start slow', 'fail slow'])
  })

  it('and does not listen is awaited for a while, then given up, whatever comes of it later', async () => {
    const never = deferred<string>()
    let calls = 0
    const deaf = target('deaf', [], () => (++calls === 1 ? never.promise : 'second'), {
      ...{ timeoutMs: 100, retries: 1, retryDelayMs: 0, needs: { gpu: 1 } },
    })
    const { result, events, clock } = started([deaf])
    await until(() => clock.timers === 1)
    clock.advance(100 + graceMs - 1)
    await nextTurn()
    expect(calls).toBe(1)
    clock.advance(1)
    // Now the wait for the second call.
    await until(() => clock.timers === 1)
    clock.advance(0)
    await until(() => calls === 2)
    never.reject(new Error('nobody hears of this'))
    expect(await result).toEqual(['second'])
    expect(await toldBy(events.read())).toEqual([
      ...['start deaf', 'retry deaf', 'start deaf', 'finish deaf'],
    ])
  })

  it('and returns no promise fails, though nothing could interrupt it', async () => {
    for (const isLater of [false, true]) {
      for (const ms of [99, 100]) {
        const busy = () => {
          flow.block(ms)
          return 'made'
        }
        const fn: () => unknown = isLater ? async () => busy() : busy
        const flow = started([target('busy', [], fn, { timeoutMs: 100 })])
        if (ms < 100) expect(await flow.result).toEqual(['made'])
        else await expect(flow.result).rejects.toEqual(code('ETIMEDOUT', 'target busy'))
        expect(flow.clock.timers).toBe(0)
      }
    }
  })

  it('and ends in time is as others', async () => {
    const bound = { timeoutMs: 1_000 }
    const quick = target('quick', [], async () => targetSignal().aborted, bound)
    const bad = target('bad', [], () => Promise.reject(new Error('bad')), {
      ...bound,
      onError: 'null',
    })
    expect(await run({ quick, bad }).result).toEqual({ quick: false, bad: null })
  })

  it('bounds the end of a run whose functions do not listen', async () => {
    const stopping = new AbortController()
    const deaf = target('deaf', [], () => deferred<void>().promise, { timeoutMs: 100 })
    const { result, clock } = started([deaf], { signal: stopping.signal })
    await until(() => clock.timers === 1)
    stopping.abort()
    clock.advance(100 + graceMs)
    await expect(result).rejects.toEqual(code('ECANCELED'))
  })
})
