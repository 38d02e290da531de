/** The heap gives its items in order. */

import fc from 'fast-check'
import { expect, it } from 'vitest'
import { Heap } from '../../src/flow/heap.js'

it('gives the first of what is in it, whatever was pushed and taken before', () => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.integer({ min: 0, max: 9 }))), (acts) => {
      const heap = new Heap<number>((a, b) => a < b)
      const model: number[] = []
      for (const item of acts) {
        if (item === null) {
          expect(heap.take()).toBe(model.shift())
        } else {
          heap.push(item)
          model.push(item)
          model.sort((a, b) => a - b)
        }
        expect(heap.first).toBe(model[0])
      }
      while (model.length > 0) expect(heap.take()).toBe(model.shift())
      expect(heap.take()).toBeUndefined()
    }),
  )
})
