/** Slices of long work: rfc/12, rules 33 and 34. */

import { describe, expect, it } from 'vitest'
import { freeSteps, LoopSlice } from '../../src/base/loop-slice.js'
import { oldestEach } from '../../src/base/turn-queue.js'

/** Takes so many steps, and tells how often it waited. */
async function walk(steps: number, options = {}): Promise<number> {
  const slice = new LoopSlice(options)
  let waited = 0
  for (let step = 0; step < steps; step++) {
    if (!slice.over) continue
    waited++
    await slice.turn()
  }
  return waited
}

/** Uses up the time of this turn. */
function useUp(): void {
  const slice = new LoopSlice()
  while (!slice.over);
}

describe('LoopSlice', () => {
  it('lets short work go on in a turn that is used up', async () => {
    useUp()
    expect(await walk(freeSteps)).toBe(0)
    useUp()
    expect(await walk(freeSteps + 1)).toBe(1)
  })

  it('lets work that has had fewest slices go on first', async () => {
    const order: string[] = []
    const take = async (name: string, slice: LoopSlice) => {
      await slice.turn()
      order.push(name)
    }
    const long = new LoopSlice()
    for (let n = 0; n < 3; n++) await take('long', long)
    let isFirst = 0
    for (let n = 0; n < oldestEach; n++) {
      order.length = 0
      await Promise.all([take('long', long), take('short', new LoopSlice())])
      if (order[0] === 'short') isFirst++
    }
    // Of 16 that go on, one is the one that waits longest.
    expect(isFirst).toBeGreaterThanOrEqual(oldestEach - 2)
  })

  it('lets urgent work go on in a turn that other work has used up', async () => {
    useUp()
    const urgent = new LoopSlice({ urgent: true })
    for (let step = 0; step < freeSteps; step++) expect(urgent.over).toBe(false)
    expect(urgent.over).toBe(false)
    expect(await walk(freeSteps + 1)).toBe(1) // other work still waits
  })
})
