/** An untrusted layer that publishes wrong results for the actions of the trusted layer above it, in 1,000 forced orders.
 *  See rfc/22, rule 6. */

import { afterEach, beforeEach, expect, it } from 'vitest'
import type { Store } from '../../src/api/store.js'
import { openCache } from '../../src/cache/cache.js'
import { open } from '../../src/open.js'
import { gated } from './gates.js'

const ordersMax = 1_000
/** The steps of a caller: it looks, takes, and finishes. */
const steps = 3

let store: Store
beforeEach(async () => {
  store = await open()
})
afterEach(() => store.close())

/** All orders of the steps of two callers: true is a step of the untrusted one. */
function orders(wrong: number, right: number): boolean[][] {
  if (wrong === 0 || right === 0) return [[...Array(wrong).fill(true), ...Array(right).fill(false)]]
  return [
    ...orders(wrong - 1, right).map((rest) => [true, ...rest]),
    ...orders(wrong, right - 1).map((rest) => [false, ...rest]),
  ]
}

const longest = { timeout: 180_000 }

it(
  'the trusted layer takes no wrong result, the untrusted one takes all right ones',
  longest,
  async () => {
    const main = openCache(store)
    await main.load('anything')
    await main.layers.create('pr', { parent: 'main' })
    const pr = openCache(store, { layer: 'pr' })
    const all = orders(steps, steps)
    for (let run = 0; run < ordersMax; run++) {
      const order = all[run % all.length] ?? []
      const action = { run }
      const callers = ['pr', 'main'].map((layer) => {
        const { store: inner, hold } = gated(store)
        const cache = openCache(inner, { layer })
        // The untrusted layer looks in both.
        const looks = layer === 'pr' ? [hold('look'), hold('look')] : [hold('look')]
        const gates = [looks, [hold('take')], [hold('finish')]]
        const done = cache.cached(action, () => (layer === 'pr' ? 'wrong' : 'right'))
        return { done, gates }
      })
      for (const isWrong of order) {
        const { done, gates } = callers[isWrong ? 0 : 1] ?? { done: undefined, gates: [] }
        // A caller that has met a hit makes no more calls.
        const arrived = (step: (typeof gates)[number] = []) =>
          Promise.race([Promise.all(step.map(({ reached }) => reached)), done])
        const step = gates.shift()
        await arrived(step)
        for (const { open: pass } of step ?? []) pass()
        await (gates.length > 0 ? arrived(gates[0]) : done)
      }
      const [wrong, right] = await Promise.all(callers.map(({ done }) => done))
      expect(right).toBe('right')
      expect(['wrong', 'right']).toContain(wrong)
      expect(await main.cached(action, () => 'not')).toBe('right')
      if (wrong === 'right') {
        expect((await pr.load(action))?.result.layer).toBe('main')
      }
    }
  },
)
