/** The queue: in order, so many at once, no place left empty while somebody waits. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { JobQueue } from '../../src/job/queue.js'

test('jobs start in the order in which they came, runningMax at once', () => {
  const step = fc.oneof(
    fc.constant({ type: 'add' } as const),
    fc.constant({ type: 'leave' } as const),
    fc.record({ type: fc.constant('remove' as const), nth: fc.nat({ max: 20 }) }),
  )
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 }), fc.array(step), (runningMax, steps) => {
      const started: number[] = []
      const queue = new JobQueue<number>(runningMax, (_, job) => started.push(job))
      const model = {
        waiting: [] as number[],
        running: 0,
        started: [] as number[],
        left: new Set<number>(),
        next: 0,
      }
      const fill = () => {
        while (model.running < runningMax && model.waiting.length > 0) {
          model.started.push(model.waiting.shift() ?? -1)
          model.running++
        }
      }
      for (const one of steps) {
        if (one.type === 'add') {
          const id = model.next++
          model.waiting.push(id)
          queue.add(`j${id}`, id)
        } else if (one.type === 'leave') {
          const id = model.started.find((one) => !model.left.has(one))
          if (id === undefined) continue
          model.running--
          model.left.add(id)
          queue.leave(`j${id}`)
        } else {
          const there = model.waiting.includes(one.nth)
          model.waiting = model.waiting.filter((id) => id !== one.nth)
          expect(queue.remove(`j${one.nth}`)).toBe(there)
        }
        fill()
        expect(started).toEqual(model.started)
        expect(queue.running).toBe(model.running)
        expect(queue.waiting).toBe(model.waiting.length)
      }
      expect(queue.clear()).toEqual(model.waiting)
      expect(queue.waiting).toBe(0)
    }),
  )
})

/** Starts are told in order; `running` is who has not left. */
function watched(runningMax: number) {
  const running = new Set<string>()
  const queue = new JobQueue<undefined>(runningMax, (id) => running.add(id))
  const leave = (id: string) => {
    running.delete(id)
    queue.leave(id)
  }
  return { queue, running, leave }
}

test('a job that runs shares its place with one child at a time, and others wait', () => {
  const { queue, running, leave } = watched(1)
  queue.add('parent', undefined)
  queue.add('other', undefined)
  queue.add('a', undefined, 'parent')
  queue.add('b', undefined, 'parent')
  queue.add('in a', undefined, 'a')
  expect([...running]).toEqual(['parent', 'a', 'in a'])
  expect(queue.depthOf('in a')).toBe(3)
  leave('in a')
  expect([...running]).toEqual(['parent', 'a'])
  leave('a')
  expect([...running]).toEqual(['parent', 'b'])
  leave('b')
  expect([...running]).toEqual(['parent'])
  leave('parent')
  expect([...running]).toEqual(['other'])
})

test('a child whose parent has gone keeps the place that they shared', () => {
  const { queue, running, leave } = watched(1)
  queue.add('parent', undefined)
  queue.add('child', undefined, 'parent')
  queue.add('other', undefined)
  leave('parent')
  expect([...running]).toEqual(['child'])
  expect(queue.depthOf('child')).toBe(1)
  queue.add('grandchild', undefined, 'child')
  queue.add('orphan', undefined, 'parent')
  expect([...running]).toEqual(['child', 'grandchild'])
  leave('child')
  leave('grandchild')
  expect([...running]).toEqual(['other'])
  leave('other')
  expect([...running]).toEqual(['orphan'])
})

test('a child that is taken out before its turn leaves the place to the next', () => {
  const { queue, running, leave } = watched(1)
  queue.add('parent', undefined)
  for (const id of ['a', 'b', 'c']) queue.add(id, undefined, 'parent')
  expect(queue.remove('b')).toBe(true)
  leave('a')
  expect([...running]).toEqual(['parent', 'c'])
})
