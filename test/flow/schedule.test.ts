/** The schedule of a run: which call is next. See rfc/24, rules 5 to 7. */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Target } from '../../src/api/flow.js'
import { Step } from '../../src/flow/graph.js'
import { Schedule } from '../../src/flow/schedule.js'
import { target } from '../../src/flow/target.js'
import { limits, recordOf } from './random-flows.js'

const ready = fc.record({
  rank: fc.integer({ min: 1, max: 4 }),
  cpu: fc.nat(limits.cpu),
  gpu: fc.nat(limits.gpu),
  label: fc.constantFrom(undefined, undefined, 'big'),
})
type Ready = typeof ready extends fc.Arbitrary<infer T> ? T : never

/** An act on a schedule: add a step, begin the next call, or end one of those that run. */
const act = fc.oneof(
  fc.record({ type: fc.constant('add' as const), step: ready }),
  fc.record({ type: fc.constant('take' as const) }),
  fc.record({ type: fc.constant('end' as const), which: fc.nat() }),
  fc.record({ type: fc.constant('places' as const), all: fc.nat(4), big: fc.nat(2) }),
)

const targetOf = (
  name: string,
  needs: { readonly [name: string]: number } = {},
  label?: string,
): Target<unknown> => target(name, [], () => undefined, { needs, ...(label && { label }) })

function stepOf(index: number, { rank, label, ...needs }: Partial<Ready> & { rank: number }): Step {
  const step = new Step(index, recordOf(targetOf(`t${index}`, needs, label)), [])
  step.rank = rank
  return step
}

describe('Schedule', () => {
  it('begins the best of those that can begin, within places, limits and places of labels', () => {
    fc.assert(
      fc.property(
        fc.array(act, { maxLength: 60 }),
        fc.integer({ min: 1, max: 4 }),
        (acts, most) => {
          const places = { all: most, big: 1 }
          const schedule = new Schedule({
            ...{ limits, looksMax: 0 },
            get concurrency() {
              return places.all
            },
            labels: { isKnown: () => true, placesOf: () => places.big },
          })
          const waiting: { readonly step: Step; readonly of: Ready }[] = []
          const running: typeof waiting = []
          const used = (name: 'cpu' | 'gpu') => running.reduce((sum, { of }) => sum + of[name], 0)
          const ofLabel = () => running.filter(({ of }) => of.label !== undefined).length
          const fits = ({ cpu, gpu, label }: Ready) =>
            used('cpu') + cpu <= limits.cpu &&
            used('gpu') + gpu <= limits.gpu &&
            (label === undefined || ofLabel() < places.big)
          let index = 0
          for (const each of acts) {
            if (each.type === 'add') {
              const step = stepOf(index++, each.step)
              schedule.admit(step.target)
              schedule.add(step)
              waiting.push({ step, of: each.step })
            } else if (each.type === 'take') {
              const able = running.length < places.all ? waiting.filter(({ of }) => fits(of)) : []
              // Those that came first stand first.
              const [best] = able.sort((a, b) => b.of.rank - a.of.rank)
              expect(schedule.takeCall()).toBe(best?.step)
              if (best) running.push(...waiting.splice(waiting.indexOf(best), 1))
              expect(schedule.hasWaiting).toBe(waiting.length > 0)
            } else if (each.type === 'places') {
              Object.assign(places, each)
              schedule.placesChanged()
            } else if (running.length > 0) {
              const [ended] = running.splice(each.which % running.length, 1)
              if (ended) schedule.endCall(ended.step)
            }
          }
        },
      ),
    )
  })

  it('touches what waits for a resource only when enough of it is given back', () => {
    const schedule = new Schedule({ concurrency: 100, limits: { cpu: 4 }, looksMax: 0 })
    const add = (index: number, cpu: number) => {
      const step = stepOf(index, { rank: 100 - index, cpu, gpu: 0 })
      schedule.admit(step.target)
      schedule.add(step)
      return step
    }
    const [first, large] = [add(0, 3), add(1, 4)]
    const small = [2, 3, 4].map((index) => add(index, 1))
    expect([schedule.takeCall(), schedule.takeCall()]).toEqual([first, small[0]])
    expect(schedule.takeCall()).toBeUndefined()
    schedule.endCall(first)
    expect([schedule.takeCall(), schedule.takeCall()]).toEqual([small[1], small[2]])
    expect(schedule.takeCall()).toBeUndefined()
    for (const step of small) schedule.endCall(step)
    expect(schedule.takeCall()).toBe(large)
  })

  it('refuses a target that needs more than there is', () => {
    const schedule = new Schedule({ concurrency: 1, limits: { cpu: 2 }, looksMax: 0 })
    const admit = (needs: { readonly [name: string]: number }) =>
      schedule.admit(recordOf(targetOf('t', needs)))
    const refused = (message: string) =>
      expect.objectContaining({ code: 'EINVAL', message: expect.stringContaining(message) })
    expect(() => admit({ cpu: 3 })).toThrow(refused('needs 3 of "cpu": the run has 2 of it'))
    expect(() => admit({ gpu: 1 })).toThrow(refused('needs 1 of "gpu": the run has no limit of it'))
    admit({ cpu: 2 })
    admit({ gpu: 0 })
  })

  it('tells once what waits without any place, of all or of its label, until there is one', () => {
    const places = { all: 0, big: 0 }
    const schedule = new Schedule({
      ...{ limits, looksMax: 0 },
      get concurrency() {
        return places.all
      },
      labels: { isKnown: (label) => label === 'big', placesOf: () => places.big },
    })
    const [plain, big, more] = ([undefined, 'big', 'big'] as const).map((label, index) => {
      const step = stepOf(index, { rank: 3 - index, label })
      schedule.admit(step.target)
      schedule.add(step)
      return step
    })
    const stranded = () => {
      expect(schedule.takeCall()).toBeUndefined()
      return schedule.takeStranded()
    }
    expect(stranded()).toEqual([plain])
    expect(stranded()).toEqual([])
    places.all = 1
    schedule.placesChanged()
    expect(schedule.takeCall()).toBe(plain)
    if (plain) schedule.endCall(plain)
    expect(stranded()).toEqual([big])
    expect(stranded()).toEqual([])
    places.big = 1
    schedule.placesChanged()
    expect(schedule.takeCall()).toBe(big)
    if (big) schedule.endCall(big)
    places.big = 0
    expect(stranded()).toEqual([more])
    expect(() => schedule.admit(recordOf(targetOf('t', {}, 'other')))).toThrow('the label other')
  })

  it('looks before it calls, with at most so many looks at a time, and calls only misses', () => {
    const schedule = new Schedule({ concurrency: 1, limits, looksMax: 2 })
    const steps = [1, 2, 3].map((rank, index) => stepOf(index, { rank, cpu: 0, gpu: 0 }))
    for (const step of steps) {
      schedule.admit(step.target)
      schedule.add(step)
    }
    const [low, middle, high] = steps
    expect(schedule.takeCall()).toBeUndefined()
    expect([schedule.takeLook(), schedule.takeLook()]).toEqual([high, middle])
    expect(schedule.takeLook()).toBeUndefined()
    schedule.endLook()
    if (middle) schedule.addCall(middle)
    expect(schedule.takeLook()).toBe(low)
    expect(schedule.takeCall()).toBe(middle)
    expect(schedule.takeCall()).toBeUndefined()
  })

  it('begins nothing once it is stopped', () => {
    const schedule = new Schedule({ concurrency: 2, limits, looksMax: 1 })
    const [one, other] = [0, 1].map((index) => stepOf(index, { rank: 1, cpu: 0, gpu: 0 }))
    if (one) schedule.add(one)
    if (other) schedule.addCall(other)
    schedule.stop()
    expect([schedule.takeLook(), schedule.takeCall()]).toEqual([undefined, undefined])
  })
})
