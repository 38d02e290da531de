/** The driver of a run, with makers of the tests: order, bounds, failures, looks, parked steps, and what
 *  is kept. See rfc/24, rules 5 to 9. */

import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { FlowEvent, Target } from '../../src/api/flow.js'
import { type Deferred, deferred } from '../../src/base/deferred.js'
import { LoopSlice } from '../../src/base/loop-slice.js'
import { drive } from '../../src/flow/drive.js'
import { RunEvents } from '../../src/flow/events.js'
import { Graph, type Step } from '../../src/flow/graph.js'
import { type Look, type Maker, ParkedStep } from '../../src/flow/maker.js'
import { map, target } from '../../src/flow/target.js'
import {
  foundOf,
  limits,
  orderOf,
  outcomesOf,
  placeOf,
  type RandomFlow,
  randomFlow,
  recordOf,
  targetsOf,
} from './random-flows.js'

/** A maker whose results are texts: what the test says, or the name of the step. */
function makerOf({
  make = ({ name }) => name,
  ...part
}: Partial<Maker<string>> = {}): Maker<string> {
  return {
    make: (step, inputs, ports) => {
      ports.begin()
      return make(step, inputs, ports)
    },
    arraysOf: (_step, inputs) => [inputs.flatMap((text) => text.split(' '))],
    gather: (_step, branches) => branches.join(' '),
    nothing: () => 'null',
    ...part,
  }
}

type DriveOptions = {
  readonly concurrency?: number
  readonly onError?: 'stop' | 'continue'
  readonly expectedOf?: (step: Step) => number
  readonly events?: RunEvents
  readonly signal?: AbortSignal
  readonly taken?: () => void
}

async function driven(
  wanted: readonly Target<unknown>[],
  maker: Maker<string>,
  options: DriveOptions = {},
): Promise<readonly (string | undefined)[]> {
  const { concurrency = 4, onError = 'stop', expectedOf, events = new RunEvents() } = options
  const { taken = () => {} } = options
  const slice = new LoopSlice()
  const graph = await Graph.of(wanted.map(recordOf), slice, expectedOf)
  const bounds = { concurrency, onError, limits, signal: options.signal }
  try {
    return await drive({ graph, maker, events, slice, options: bounds }, (made) => {
      taken()
      return made
    })
  } finally {
    events.end()
  }
}

const wantedOf = (flow: RandomFlow): readonly Target<unknown>[] => {
  const made = targetsOf(flow)
  return flow.wanted.flatMap((at) => made[at] ?? [])
}

async function eventsOf(events: RunEvents): Promise<readonly FlowEvent[]> {
  const all: FlowEvent[] = []
  for await (const event of events.read()) all.push(event)
  return all
}

/** Waits for a condition that holds some turns of the event loop later. */
async function until(holds: () => boolean): Promise<void> {
  for (let turns = 0; !holds(); turns++) {
    if (turns > 100_000) throw new Error('it never holds')
    await nextTurn()
  }
}

describe('drive', () => {
  it('calls one after the other in the order of the model', async () => {
    await fc.assert(
      fc.asyncProperty(randomFlow, async (flow) => {
        const order: number[] = []
        const maker = makerOf({
          make: ({ name }) => {
            order.push(placeOf(name))
            return name
          },
        })
        const results = await driven(wantedOf(flow), maker, {
          concurrency: 1,
          expectedOf: ({ name }) => flow.targets[placeOf(name)]?.time ?? 0,
        })
        expect(order).toEqual(orderOf(flow))
        expect(results).toEqual(flow.wanted.map((at) => `t${at}`))
      }),
    )
  })

  it('calls each once, behind its inputs, within all bounds, and never waits with one that could begin', async () => {
    await fc.assert(
      fc.asyncProperty(
        randomFlow,
        fc.integer({ min: 1, max: 4 }),
        fc.infiniteStream(fc.nat()),
        async (flow, concurrency, choices) => {
          const running = new Map<number, Deferred<string>>()
          const ended = new Set<number>()
          const begun = new Set<number>()
          const used = (name: 'cpu' | 'gpu') =>
            [...running.keys()].reduce((sum, at) => sum + (flow.targets[at]?.needs[name] ?? 0), 0)
          const maker = makerOf({
            make: (step, inputs) => {
              const at = placeOf(step.name)
              expect(begun.has(at)).toBe(false)
              begun.add(at)
              expect(inputs).toEqual(flow.targets[at]?.sources.map((source) => `t${source}`))
              for (const source of flow.targets[at]?.sources ?? []) {
                expect(ended.has(source)).toBe(true)
              }
              const made = deferred<string>()
              running.set(at, made)
              expect(running.size).toBeLessThanOrEqual(concurrency)
              expect(used('cpu')).toBeLessThanOrEqual(limits.cpu)
              expect(used('gpu')).toBeLessThanOrEqual(limits.gpu)
              return made.promise
            },
          })
          const found = foundOf(flow)
          const couldBegin = () =>
            running.size < concurrency &&
            found.some((at) => {
              const { sources = [], needs = { cpu: 0, gpu: 0 } } = flow.targets[at] ?? {}
              return (
                !begun.has(at) &&
                sources.every((source) => ended.has(source)) &&
                used('cpu') + needs.cpu <= limits.cpu &&
                used('gpu') + needs.gpu <= limits.gpu
              )
            })
          const results = driven(wantedOf(flow), maker, { concurrency })
          while (ended.size < found.length) {
            await until(() => !couldBegin())
            const choice = choices.next().value ?? 0
            const at = [...running.keys()][choice % running.size] ?? -1
            running.get(at)?.resolve(`t${at}`)
            running.delete(at)
            ended.add(at)
          }
          expect(await results).toEqual(flow.wanted.map((at) => `t${at}`))
        },
      ),
    )
  })

  it('goes on with what does not depend on a failure, and skips what does, if it is told to', async () => {
    await fc.assert(
      fc.asyncProperty(randomFlow, fc.boolean(), async (flow, isLater) => {
        const maker = makerOf({
          make: ({ name }) => {
            const fails = flow.targets[placeOf(name)]?.fails
            if (isLater) return fails ? Promise.reject(name) : Promise.resolve(name)
            if (fails) throw new Error(name)
            return name
          },
        })
        const events = new RunEvents()
        const result = driven(wantedOf(flow), maker, { onError: 'continue', events })
        const settled = result.then(
          () => undefined,
          (error: unknown) => error,
        )
        const all = await eventsOf(events)
        const outcomes = outcomesOf(flow)
        const told = all.filter(({ type }) => type !== 'start')
        expect(new Map(told.map(({ type, target }) => [placeOf(target), type]))).toEqual(outcomes)
        expect(told.length).toBe(outcomes.size)
        const [first] = all.flatMap((event) => (event.type === 'fail' ? [event.error] : []))
        expect(await settled).toBe(first)
        for (const event of all) {
          if (event.type !== 'skip') continue
          expect(outcomes.get(placeOf(event.because))).toBe('fail')
          expect(dependsOn(flow, placeOf(event.target), placeOf(event.because))).toBe(true)
        }
      }),
    )
  })

  it('begins nothing behind a failure, and awaits what runs, by default', async () => {
    await fc.assert(
      fc.asyncProperty(randomFlow, fc.integer({ min: 1, max: 4 }), async (flow, concurrency) => {
        const maker = makerOf({
          make: async ({ name }) => {
            await nextTurn()
            if (flow.targets[placeOf(name)]?.fails) throw new Error(name)
            return name
          },
        })
        const events = new RunEvents()
        const result = driven(wantedOf(flow), maker, { concurrency, events })
        result.catch(() => {})
        const all = await eventsOf(events)
        const failure = all.findIndex(({ type }) => type === 'fail')
        const tail = failure < 0 ? [] : all.slice(failure)
        expect(tail.filter(({ type }) => type === 'start')).toEqual([])
        const started = all.flatMap(({ type, target }) => (type === 'start' ? [target] : []))
        const ended = all.flatMap(({ type, target }) =>
          type === 'finish' || type === 'fail' ? [target] : [],
        )
        expect(new Set(ended)).toEqual(new Set(started))
        const failed = all.find((event) => event.type === 'fail')
        if (failed) await expect(result).rejects.toBe(failed.error)
        else await expect(result).resolves.toHaveLength(flow.wanted.length)
      }),
    )
  })

  it('drops a result as soon as the last that needs it has ended, and those that are wanted at the end', async () => {
    await fc.assert(
      fc.asyncProperty(randomFlow, async (flow) => {
        const dropped: number[] = []
        const order: number[] = []
        const maker = makerOf({
          make: ({ name }) => {
            const at = placeOf(name)
            // Exactly those are gone that nobody needs whose call is still to come.
            const needed = foundOf(flow).filter((other) => !order.includes(other))
            const gone = order.filter(
              (other) =>
                !flow.wanted.includes(other) &&
                !needed.some((each) => flow.targets[each]?.sources.includes(other)),
            )
            expect(dropped.toSorted()).toEqual(gone.toSorted())
            order.push(at)
            return name
          },
          drop: (value, step) => {
            expect(value).toBe(step.name)
            dropped.push(placeOf(step.name))
          },
        })
        const taken = () => expect(dropped.some((at) => flow.wanted.includes(at))).toBe(false)
        await driven(wantedOf(flow), maker, { taken })
        expect(dropped.toSorted()).toEqual(foundOf(flow).toSorted())
      }),
    )
  })

  it.each(['before', 'after'] as const)(
    'drops a result that was there %s what needed it was skipped',
    async (when) => {
      const dropped: string[] = []
      const [a, bad] = [target('a', [], () => 1), target('bad', [], () => 1)]
      const events = new RunEvents()
      const maker = makerOf({
        make: async ({ name }) => {
          if ((name === 'a') === (when === 'after')) await nextTurn()
          if (name === 'bad') throw new Error(name)
          return name
        },
        drop: (value) => dropped.push(value),
      })
      const behind = [target('b', [a, bad], () => 1)]
      const result = driven(behind, maker, { onError: 'continue', events })
      await expect(result).rejects.toThrow('bad')
      const told = (await eventsOf(events)).map(({ type, target }) => `${type} ${target}`)
      expect(told.indexOf('finish a') < told.indexOf('skip b')).toBe(when === 'before')
      expect(dropped).toEqual(['a'])
    },
  )

  it('keeps the inputs of a map until its last branch has ended, also once one failed', async () => {
    const dropped: string[] = []
    const seen: (readonly string[])[] = []
    const [xs, y] = [target('xs', [], () => ['']), target('y', [], () => 1)]
    const all = map('all', [xs, y], () => 1)
    const maker = makerOf({
      make: ({ name }, inputs) => {
        if (name === 'xs') return '1 2 3'
        if (name.startsWith('all')) seen.push(inputs)
        if (name === 'all[0]') throw new Error(name)
        return name
      },
      arraysOf: (_step, [text = '']) => [text.split(' ')],
      drop: (value) => dropped.push(value),
    })
    const result = driven([all], maker, { onError: 'continue', concurrency: 1 })
    await expect(result).rejects.toThrow('all[0]')
    expect(seen).toEqual([0, 1, 2].map(() => ['1 2 3', 'y']))
    expect(dropped.toSorted()).toEqual(['1 2 3', 'all[1]', 'all[2]', 'y'])
  })
})

describe('drive with looks', () => {
  it('makes only what is not there, and gives both to those that depend on it', async () => {
    const made: string[] = []
    const [a, b] = [target('a', [], () => 1), target('b', [], () => 1)]
    const both = target('both', [a, b], () => 1)
    const maker = makerOf({
      look: async ({ name }): Promise<Look<string>> =>
        name === 'a' ? { value: 'there' } : undefined,
      make: ({ name }, inputs) => {
        made.push(name)
        return [name, ...inputs].join()
      },
    })
    expect(await driven([both], maker)).toEqual(['both,there,b'])
    expect(made).toEqual(['b', 'both'])
  })

  it('looks for any number, of which it asks for some at a time', async () => {
    let looking = 0
    let most = 0
    const all = Array.from({ length: 1_000 }, (_, at) => target(`t${at}`, [], () => at))
    const maker = makerOf({
      look: async ({ name }) => {
        most = Math.max(most, ++looking)
        await nextTurn()
        looking--
        return { value: name }
      },
    })
    expect(await driven(all, maker)).toEqual(all.map(({ name }) => name))
    expect(most).toBeGreaterThan(10)
    expect(most).toBeLessThan(1_000)
  })

  it('looks again for what somebody else makes, which takes no place meanwhile', async () => {
    const over = deferred<void>()
    const [elsewhere, here] = [target('elsewhere', [], () => 1), target('here', [], () => 1)]
    const looks: string[] = []
    const made: string[] = []
    const maker = makerOf({
      look: ({ name }) => {
        looks.push(name)
        if (name === 'here') return undefined
        return looks.filter((each) => each === name).length === 1
          ? new ParkedStep(over.promise)
          : { value: 'from elsewhere' }
      },
      make: ({ name }) => {
        made.push(name)
        return name
      },
    })
    const result = driven([elsewhere, here], maker, { concurrency: 1 })
    await until(() => made.length === 1)
    over.resolve()
    expect(await result).toEqual(['from elsewhere', 'here'])
    expect(looks).toEqual(['elsewhere', 'here', 'elsewhere'])
    expect(made).toEqual(['here'])
  })

  it('takes back the place of a call that finds that somebody else makes the same', async () => {
    const over = deferred<void>()
    const [a, b] = [target('a', [], () => 1), target('b', [], () => 1)]
    const calls: string[] = []
    const maker = makerOf({
      look: () => undefined,
      make: ({ name }) => {
        calls.push(name)
        return name === 'a' && calls.length === 1 ? new ParkedStep(over.promise) : name
      },
    })
    const result = driven([a, b], maker, { concurrency: 1 })
    await until(() => calls.length === 2)
    over.resolve()
    expect(await result).toEqual(['a', 'b'])
    expect(calls).toEqual(['a', 'b', 'a'])
  })

  it('does not wait for what is made elsewhere once it is canceled', async () => {
    const parked = deferred<void>()
    const canceling = new AbortController()
    const maker = makerOf({
      look: () => {
        parked.resolve()
        return new ParkedStep(deferred<void>().promise)
      },
    })
    const result = driven([target('a', [], () => 1)], maker, { signal: canceling.signal })
    await parked.promise
    canceling.abort()
    await expect(result).rejects.toThrow(expect.objectContaining({ code: 'ECANCELED' }))
  })

  it('fails a target whose look fails', async () => {
    const maker = makerOf({
      look: ({ name }) => {
        if (name === 'a') throw new Error('no look')
        return undefined
      },
    })
    const a = target('a', [], () => 1)
    await expect(driven([target('b', [a], () => 1)], maker)).rejects.toThrow('no look')
  })
})

/** True if a target of a flow depends on another one, directly or not. */
function dependsOn(flow: RandomFlow, at: number, other: number): boolean {
  const { sources = [] } = flow.targets[at] ?? {}
  return sources.some((source) => source === other || dependsOn(flow, source, other))
}
