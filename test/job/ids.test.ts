/** Job ids sort by time of submit, whatever the clock does. */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isJobId, JobIds, mirrored } from '../../src/job/ids.js'

const noTimer = () => ({ [Symbol.dispose]: () => {} })
const at = (now: () => number) => ({ now, monotonic: () => 0, id: () => '', timer: noTimer })

test('an id has these digits', () => {
  const ids = new JobIds(at(() => 1_700_000_000_000))
  expect([ids.next(), ids.next()]).toEqual(['f1hf7uaq00000', 'f1hf7uaq00001'])
})

test('ids grow, also where the clock steps back and after a restart', () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 2 ** 43 }), { minLength: 2 }), fc.nat(), (clock, stop) => {
      let turn = 0
      const environment = at(() => clock[turn++ % clock.length] ?? 0)
      let ids = new JobIds(environment)
      const given: string[] = []
      for (const [index] of clock.entries()) {
        if (index === stop % clock.length) ids = new JobIds(environment, given.at(-1))
        given.push(ids.next())
      }
      expect(given.every(isJobId)).toBe(true)
      expect([...given].sort()).toEqual(given)
      expect(new Set(given).size).toBe(given.length)
      expect(given.map(mirrored).sort().map(mirrored)).toEqual(given.reverse())
    }),
  )
})

test('more ids than a millisecond has run ahead of the clock', () => {
  const ids = new JobIds(at(() => 5))
  let last = ids.next()
  for (let count = 0; count < 70_000; count++) {
    const next = ids.next()
    if (next <= last) throw new Error(`${next} after ${last}`)
    last = next
  }
  expect(last.slice(0, 10)).toBe('f000000007')
})

test.each(['', 'f', 'f1hf6aqv8000', 'f1hf6aqv8000w', 'g1hf6aqv80000', 'active'])(
  '%j is no id',
  (text) => {
    expect(isJobId(text)).toBe(false)
  },
)
