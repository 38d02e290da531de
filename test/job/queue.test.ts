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
      const queue = new JobQueue<number>(runningMax, (job) => started.push(job))
      const model = { waiting: [] as number[], running: 0, started: [] as number[], next: 0 }
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
          if (model.running === 0) continue
          model.running--
          queue.leave()
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
