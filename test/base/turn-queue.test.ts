/** Shares of the event loop. See rfc/12, rules 22, 33 and 34. */

import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { oldestEach, TurnQueue } from '../../src/base/turn-queue.js'

const anHour = 3_600_000

/** Counts turns of the event loop until it is stopped. */
class TurnCount implements Disposable {
  count = 0
  #over = false

  constructor() {
    const next = () => {
      this.count++
      if (!this.#over) setImmediate(next)
    }
    setImmediate(next)
  }

  [Symbol.dispose](): void {
    this.#over = true
  }
}

/** The simplest model: a list that is sorted. */
function expected(all: readonly number[]): readonly number[] {
  const left = [...all.keys()].sort((a, b) => (all[a] ?? 0) - (all[b] ?? 0) || a - b)
  return all.map((_, n) => {
    const isOldest = n % oldestEach === oldestEach - 1
    const [next] = left.splice(isOldest ? left.indexOf(Math.min(...left)) : 0, 1)
    return next ?? -1
  })
}

function work(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}

describe('TurnQueue', () => {
  it('lets a user go on soon, though new ones come all the time', async () => {
    const queue = new TurnQueue({ ms: anHour, cost: 1 })
    let resumed = 0
    const use = async (finish: number) => {
      await queue.wait(finish, 1)
      queue.spend(1)
      return resumed++
    }
    const all = [use(0), use(0)]
    // It was served just before: it starts one behind those that come now.
    const returning = use(queue.startOf(0) + 1)
    let place: number | undefined
    void returning.then((at) => {
      place = at
    })
    while (place === undefined) {
      // Two come for each one that goes on.
      all.push(use(0), use(0))
      await nextTurn()
    }
    expect(place).toBeLessThan(oldestEach / 2)
    await Promise.all(all)
  })

  it('resumes the least virtual start first, equal ones in order, each 16th time the oldest', async () => {
    const finish = fc.integer({ min: 0, max: 9 })
    await fc.assert(
      fc.asyncProperty(fc.array(finish, { maxLength: 100 }), async (all) => {
        const queue = new TurnQueue({ ms: anHour })
        const order: number[] = []
        const wait = async (each: number, index: number) => {
          await queue.wait(each)
          order.push(index)
        }
        await Promise.all(all.map(wait))
        expect(order).toEqual(expected(all))
        expect(queue.size).toBe(0)
      }),
    )
  })

  it('resumes one who has used nothing before all who have, though they waited longer', async () => {
    const queue = new TurnQueue({ ms: anHour, cost: 1 })
    let over = false
    const used = new Map<number, number>()
    const long = async (index: number) => {
      for (let finish = 0; !over; ) {
        finish = (await queue.wait(finish)) + 1
        used.set(index, (used.get(index) ?? 0) + 1)
        queue.spend(1)
      }
    }
    const all = Promise.all(Array.from({ length: 50 }, (_, index) => long(index)))
    for (let n = 0; n < 200; n++) await nextTurn()
    const before = [...used.values()].reduce((sum, each) => sum + each, 0)
    await queue.wait(0)
    const after = [...used.values()].reduce((sum, each) => sum + each, 0)
    over = true
    await all
    expect(after - before).toBeLessThanOrEqual(2)
    const counts = [...used.values()]
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(2)
  })

  it('resumes short work before long work, at every place of a round of equal long work', async () => {
    const queue = new TurnQueue({ ms: anHour, cost: 1 })
    const cost = 1_000
    let over = false
    let resumed = 0
    const long = async () => {
      for (let finish = 0; !over; ) {
        finish = (await queue.wait(finish, cost)) + cost
        resumed++
        queue.spend(1)
      }
    }
    const all = Promise.all(Array.from({ length: 50 }, long))
    let most = 0
    for (let n = 0, finish = 0; n < 60; n++) {
      for (let turns = 0; turns < 7; turns++) await nextTurn()
      const before = resumed
      finish = (await queue.wait(finish, 1)) + 1
      // In the first round all of them are new.
      if (n > 10) most = Math.max(most, resumed - before)
      queue.spend(1)
    }
    over = true
    await all
    // The last one of each round, and the one that waits longest.
    expect(most).toBeLessThanOrEqual(2)
  })

  it('lets no stream of newcomers keep out one who has used a quantum', async () => {
    const queue = new TurnQueue({ ms: anHour, cost: 1 })
    let over = false
    let newcomers = 0
    const come = async () => {
      while (!over) {
        await queue.wait(0)
        queue.spend(1)
        newcomers++
      }
    }
    const all = Promise.all([come(), come(), come()])
    const finish = (await queue.wait(0)) + 1
    const before = newcomers
    await queue.wait(finish)
    expect(newcomers - before).toBeLessThanOrEqual(2 * oldestEach)
    over = true
    await all
  })

  it('resumes by rank, whatever the clock says, and in order within a rank', async () => {
    const queue = new TurnQueue({ ms: anHour })
    queue.enter(1_000)
    const order: string[] = []
    const wait = async (name: string, rank: number) => {
      await queue.waitAt(rank)
      order.push(name)
    }
    const all = [wait('new', 0), wait('old', 5), wait('also new', 0)]
    await Promise.all([...all, wait('urgent', Number.NEGATIVE_INFINITY)])
    expect(order).toEqual(['urgent', 'new', 'also new', 'old'])
  })

  it('resumes in one turn as many as its time allows, each after what the last did at once', async () => {
    const queue = new TurnQueue({ ms: 20 })
    using turns = new TurnCount()
    const seen: number[] = []
    await Promise.all(
      Array.from({ length: 60 }, async () => {
        await queue.wait(0)
        // A chain of microtasks belongs to it.
        for (let n = 0; n < 100; n++) await undefined
        work(1)
        seen.push(turns.count)
      }),
    )
    const perTurn = new Map<number, number>()
    for (const turn of seen) perTurn.set(turn, (perTurn.get(turn) ?? 0) + 1)
    // One may begin when the time is all but over.
    expect(Math.max(...perTurn.values())).toBeLessThanOrEqual(21)
    expect(perTurn.size).toBeGreaterThanOrEqual(3)
    expect(perTurn.size).toBeLessThan(60)
  })

  it('is spent by cost, and by time, until the turn is over', async () => {
    const byCost = new TurnQueue({ ms: anHour, cost: 10 })
    byCost.spend(9)
    expect(byCost.spent).toBe(false)
    byCost.spend(1)
    expect(byCost.spent).toBe(true)
    await nextTurn()
    expect(byCost.spent).toBe(false)
    const byTime = new TurnQueue({ ms: 5 })
    expect(byTime.spent).toBe(false)
    work(6)
    expect(byTime.spent).toBe(true)
    await nextTurn()
    expect(byTime.spent).toBe(false)
  })

  it('gives its users a share of the time that all else took, within a bound', async () => {
    // From the end of the other work to the end of the turn. A slow machine makes it longer, never
    // shorter, so that one short turn of many shows the bound.
    const shortest = async (share?: { readonly of: number; readonly msMax: number }) => {
      let least = Number.POSITIVE_INFINITY
      for (let tries = 0; tries < 20 && least >= 15; tries++) {
        const queue = new TurnQueue({ ms: 1, ...(share && { share }) })
        const turn = queue.waitAt(0)
        work(40)
        const worked = performance.now()
        await turn
        while (!queue.spent);
        least = Math.min(least, performance.now() - worked)
      }
      return least
    }
    expect(await shortest()).toBeLessThan(15)
    expect(await shortest({ of: 0.5, msMax: 1_000 })).toBeGreaterThan(19)
    expect(await shortest({ of: 0.5, msMax: 5 })).toBeLessThan(15)
  })
})
