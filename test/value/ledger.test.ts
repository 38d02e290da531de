/** The ledger: bounds, order, and what is forgotten. See rfc/23, rules 9 to 13. */

import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { deferred } from '../../src/base/deferred.js'
import { TailraceError } from '../../src/error.js'
import {
  type Idle,
  Ledger,
  type MemoryClaim,
  type Sizes,
  spillsMax,
  waitingMax,
} from '../../src/value/ledger.js'

const waiting = { wait: 'wait', signal: undefined } as const
const failing = { wait: 'fail', signal: undefined } as const
const packed = (bytes: number) => ({ packed: bytes, opened: 0 })
const of = (sizes: Sizes): MemoryClaim => ({ need: () => ({ sizes }) })
const always = () => true
const never = () => false

/** True if a promise has settled by now. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let is = false
  promise.then(
    () => {
      is = true
    },
    () => {
      is = true
    },
  )
  await nextTurn()
  return is
}

describe('the ledger', () => {
  it('grants what fits, and refuses or keeps waiting what does not', async () => {
    const ledger = new Ledger({ packed: 10, opened: 10 })
    await ledger.claim(of({ packed: 6, opened: 1 }), waiting)
    await ledger.claim(of({ packed: 4, opened: 9 }), failing)
    await expect(ledger.claim(of(packed(1)), failing)).rejects.toMatchObject({ code: 'EBUSY' })
    const claim = ledger.claim(of(packed(5)), waiting)
    expect(await settled(claim)).toBe(false)
    expect(ledger.view.waiting).toBe(1)
    ledger.give(packed(4))
    expect(await settled(claim)).toBe(false)
    ledger.give(packed(1))
    await claim
    expect(ledger.view.packed).toEqual({ used: 10, max: 10, highest: 10 })
  })

  it('grants in order, each claim whole: a small one does not pass a large one', async () => {
    const ledger = new Ledger({ packed: 10, opened: 10 })
    await ledger.claim(of({ packed: 10, opened: 10 }), waiting)
    const order: string[] = []
    const large = ledger
      .claim(of({ packed: 5, opened: 10 }), waiting)
      .then(() => order.push('large'))
    const small = ledger.claim(of(packed(1)), waiting).then(() => order.push('small'))
    ledger.give({ packed: 10 })
    await nextTurn()
    expect(order).toEqual([])
    expect(ledger.view.packed.used).toBe(0)
    ledger.give({ opened: 10 })
    await Promise.all([large, small])
    expect(order).toEqual(['large', 'small'])
  })

  it('gives what is above the bound to one claim alone', async () => {
    const ledger = new Ledger({ packed: 10, opened: 10 })
    await ledger.claim(of(packed(1)), waiting)
    const huge = ledger.claim(of(packed(100)), waiting)
    const other = ledger.claim(of(packed(1)), waiting)
    expect(await settled(huge)).toBe(false)
    ledger.give(packed(1))
    await huge
    expect(await settled(other)).toBe(false)
    expect(ledger.view.packed.used).toBe(100)
    ledger.give(packed(100))
    await other
  })

  it('forgets what is above the bound once it is idle, unless that would be written', async () => {
    const ledger = new Ledger({ packed: 10, opened: 10 })
    await ledger.claim(of({ packed: 25, opened: 0 }), waiting)
    const forgotten: string[] = []
    const idle = (name: string, size: number, isWritten: () => boolean): Idle => ({
      ...{ kind: 'packed', size, isIdle: always, isWritten },
      forget: () => {
        forgotten.push(name)
        return undefined
      },
    })
    ledger.rest(idle('unstored', 10, always))
    expect(forgotten).toEqual([])
    ledger.rest(idle('first', 10, never))
    ledger.rest(idle('last', 5, never))
    expect([forgotten, ledger.view.packed.used]).toEqual([['first', 'last'], 10])
  })

  it('forgets what is idle, the least recently used first, and no more than is needed', async () => {
    const ledger = new Ledger({ packed: 10, opened: 10 })
    const forgotten: string[] = []
    const idle = (name: string): Idle => ({
      ...{ kind: 'packed', size: 3, isIdle: always, isWritten: never },
      forget: () => {
        forgotten.push(name)
        return undefined
      },
    })
    const [a, b, c] = [idle('a'), idle('b'), idle('c')]
    await ledger.claim(of(packed(9)), waiting)
    for (const each of [a, b, c]) ledger.rest(each)
    expect(ledger.wake(a)).toBe(true)
    ledger.rest(a) // used again: now the most recent
    await ledger.claim(of(packed(4)), failing)
    expect(forgotten).toEqual(['b'])
    expect(ledger.view.packed.used).toBe(10)
    await ledger.claim(of(packed(5)), failing)
    expect(forgotten).toEqual(['b', 'c', 'a'])
    expect(ledger.wake(a)).toBe(false)
    expect(ledger.view.counts.forgotten).toBe(3)
  })

  it('goes on with a claim that waits as soon as something is idle', async () => {
    const ledger = new Ledger({ packed: 10, opened: 10 })
    await ledger.claim(of(packed(10)), waiting)
    const claim = ledger.claim(of(packed(10)), waiting)
    expect(await settled(claim)).toBe(false)
    ledger.rest({
      kind: 'packed',
      size: 10,
      isIdle: always,
      isWritten: never,
      forget: () => undefined,
    })
    await claim
    expect(ledger.view.packed.used).toBe(10)
  })

  it('waits for what is written elsewhere, writes no more than is needed, and tells why it failed', async () => {
    const ledger = new Ledger({ packed: 10, opened: 10 })
    await ledger.claim(of(packed(10)), waiting)
    const [first, second] = [deferred<boolean>(), deferred<boolean>()]
    let begun = 0
    const spilled = (written: Promise<boolean>): Idle => ({
      ...{ kind: 'packed', size: 5, isIdle: always, isWritten: never },
      forget: () => {
        begun++
        return written
      },
    })
    ledger.rest(spilled(first.promise))
    ledger.rest(spilled(second.promise))
    // It may wait though it must not: room is on its way.
    const claim = ledger.claim(of(packed(3)), failing)
    const next = ledger.claim(of(packed(2)), waiting)
    expect(await settled(claim)).toBe(false)
    expect(begun).toBe(1)
    first.resolve(true)
    await Promise.all([claim, next])
    expect(begun).toBe(1)
    const last = ledger.claim(of(packed(5)), waiting)
    expect(await settled(last)).toBe(false)
    expect(begun).toBe(2)
    second.reject(new TailraceError('ENOSPC', 'no space left'))
    await expect(last).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(ledger.view.packed.used).toBe(10)
  })

  it('writes few values elsewhere at a time, and goes on as they are written', async () => {
    const count = 3 * spillsMax
    const ledger = new Ledger({ packed: count, opened: 0 })
    await ledger.claim(of(packed(count)), waiting)
    const begun: ReturnType<typeof deferred<boolean>>[] = []
    for (let at = 0; at < count; at++) {
      const forget = () => {
        const written = deferred<boolean>()
        begun.push(written)
        return written.promise
      }
      ledger.rest({ ...{ kind: 'packed', size: 1, isIdle: always, isWritten: never }, forget })
    }
    // It may not wait, but all that it needs is on its way out, or will be.
    const claim = ledger.claim(of(packed(count)), failing)
    expect(begun.length).toBe(spillsMax)
    begun[0]?.resolve(true)
    await nextTurn()
    expect(begun.length).toBe(spillsMax + 1)
    for (const written of begun) written.resolve(true)
    for (let at = 0; at < begun.length; at++) {
      begun[at]?.resolve(true)
      await nextTurn()
    }
    await claim
    expect([begun.length, ledger.view.packed.used]).toEqual([count, count])
  })

  it('keeps what was written if it is in use again by then', async () => {
    const ledger = new Ledger({ packed: 10, opened: 0 })
    await ledger.claim(of(packed(10)), waiting)
    const written = deferred<boolean>()
    ledger.rest({
      kind: 'packed',
      size: 10,
      isIdle: always,
      isWritten: never,
      forget: () => written.promise,
    })
    const claim = ledger.claim(of(packed(1)), waiting)
    written.resolve(false)
    expect(await settled(claim)).toBe(false)
    expect(ledger.view.packed.used).toBe(10)
    ledger.give(packed(10))
    await claim
  })

  it('asks a claim in its turn only, at the moment when there is room, and ends it with what it throws', async () => {
    const ledger = new Ledger({ packed: 10, opened: 0 })
    await ledger.claim(of(packed(10)), waiting)
    const asked: string[] = []
    const claim = (name: string, need: () => number) =>
      ledger.claim(
        {
          need: () => {
            asked.push(name)
            return { sizes: packed(need()) }
          },
          take: () => void asked.push(`${name} takes`),
        },
        waiting,
      )
    let size = 10
    const first = claim('first', () => size)
    const second = claim('second', () => {
      throw new TailraceError('EINVAL', 'no')
    })
    const third = claim('third', () => 5)
    expect(asked).toEqual(['first'])
    size = 5
    ledger.give(packed(10))
    expect(asked).toEqual(['first', 'first', 'first takes', 'second', 'third', 'third takes'])
    await Promise.all([first, third])
    await expect(second).rejects.toMatchObject({ code: 'EINVAL' })
    expect(ledger.view.packed.used).toBe(10)
  })

  it('ends a wait with its signal, and lets those behind it go on', async () => {
    const ledger = new Ledger({ packed: 10, opened: 10 })
    await ledger.claim(of(packed(5)), waiting)
    const ending = new AbortController()
    const large = ledger.claim(of(packed(10)), { wait: 'wait', signal: ending.signal })
    const small = ledger.claim(of(packed(5)), waiting)
    expect(await settled(small)).toBe(false)
    ending.abort()
    await expect(large).rejects.toMatchObject({ code: 'ECANCELED' })
    await small
    await expect(
      ledger.claim(of(packed(0)), { wait: 'wait', signal: ending.signal }),
    ).rejects.toMatchObject({
      code: 'ECANCELED',
    })
  })

  it('refuses the claim that is one too many', async () => {
    const ledger = new Ledger({ packed: 1, opened: 1 })
    await ledger.claim(of(packed(1)), waiting)
    const all = Array.from({ length: waitingMax }, () => ledger.claim(of(packed(1)), waiting))
    await expect(ledger.claim(of(packed(1)), waiting)).rejects.toMatchObject({ code: 'EBUSY' })
    let done = 0
    for (const claim of all) void claim.then(() => done++)
    for (let n = 0; n < waitingMax; n++) ledger.give(packed(1))
    await Promise.all(all)
    expect(done).toBe(waitingMax)
  })

  it('never has more than its bounds, whatever is claimed, given back and forgotten', async () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('claim' as const), packed: fc.nat(12), opened: fc.nat(12) }),
      fc.record({ do: fc.constant('end' as const), at: fc.nat(20), idle: fc.boolean() }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const max = 10
        const ledger = new Ledger({ packed: max, opened: max })
        /** What is held, and what rests. */
        const held: { packed: number; opened: number }[] = []
        const resting = { packed: 0, opened: 0 }
        const claims: Promise<unknown>[] = []
        const rest = (kind: 'packed' | 'opened', size: number) => {
          if (size === 0) return
          resting[kind] += size
          ledger.rest({
            ...{ kind, size, isIdle: always, isWritten: never },
            forget: () => {
              resting[kind] -= size
              return undefined
            },
          })
        }
        const end = (at: number, idle: boolean) => {
          const [one] = held.splice(at % Math.max(1, held.length), 1)
          if (!one) return
          if (!idle) return ledger.give(one)
          rest('packed', one.packed)
          rest('opened', one.opened)
        }
        const look = () => {
          for (const kind of ['packed', 'opened'] as const) {
            const inUse = held.map((each) => each[kind]).filter((size) => size > 0)
            const used = inUse.reduce((sum, size) => sum + size, 0) + resting[kind]
            expect(ledger.view[kind].used).toBe(used)
            if (used > max) expect(inUse.length + (resting[kind] > 0 ? 1 : 0)).toBe(1)
          }
        }
        for (const each of steps) {
          if (each.do === 'claim') {
            const sizes = { packed: each.packed, opened: each.opened }
            claims.push(ledger.claim(of(sizes), waiting).then(() => held.push(sizes)))
          } else end(each.at, each.idle)
          await nextTurn()
          look()
        }
        // All are granted once all is given back.
        for (let n = 0; n <= steps.length; n++) {
          while (held.length > 0) end(0, false)
          await nextTurn()
        }
        await Promise.all(claims)
        expect(ledger.view.waiting).toBe(0)
      }),
      { numRuns: 100 },
    )
  })
})
