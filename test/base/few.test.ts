/** Sets that mostly have none or one. */

import fc from 'fast-check'
import { expect, it } from 'vitest'
import { each, type Few, withOne, without } from '../../src/base/few.js'

it('has what a Set has, in its order', () => {
  const pool = Array.from({ length: 4 }, (_, id) => ({ id }))
  const step = fc.tuple(fc.boolean(), fc.constantFrom(...pool))
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const model = new Set<object>()
      let few: Few<object>
      for (const [adds, one] of steps) {
        if (adds) model.add(one)
        else model.delete(one)
        few = adds ? withOne(few, one) : without(few, one)
        expect([...each(few)]).toEqual([...model])
      }
    }),
  )
})

it('one alone takes no Set', () => {
  const one = {}
  expect(withOne(undefined, one)).toBe(one)
  expect(without(one, one)).toBeUndefined()
})
