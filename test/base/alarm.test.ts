/** The one timer behind many deadlines. See rfc/9. */

import { expect, it } from 'vitest'
import { Alarm } from '../../src/base/alarm.js'
import { TestClock } from '../clock.js'

function made(options: { readonly clock?: () => number; readonly waitMsMax?: number } = {}) {
  const time = new TestClock()
  const start = time.now()
  const rung: [at: number, late: number][] = []
  const alarm = new Alarm(time.timer, {
    clock: options.clock ?? time.monotonic,
    waitMsMax: options.waitMsMax ?? 1e9,
    ring: (late) => rung.push([time.now() - start, late]),
  })
  return { time, start, rung, alarm }
}

it('rings once, at the nearest of the times that it was given', () => {
  const { time, start, rung, alarm } = made()
  for (const at of [500, 300, 400]) alarm.by(start + at)
  expect(time.timers).toBe(1)
  time.advance(299)
  expect([rung, alarm.pending]).toEqual([[], true])
  time.advance(1)
  expect([rung, alarm.pending, time.timers]).toEqual([[[300, 0]], false, 0])
  time.advance(10_000)
  expect(rung).toHaveLength(1)
  alarm.by(time.now() + 5)
  time.advance(5)
  expect(rung).toHaveLength(2)
})

it('says how late it rings, a time that has gone already from when it was given', () => {
  const { time, start, rung, alarm } = made()
  alarm.by(start + 100)
  time.stall(1_000)
  alarm.by(start)
  time.advance(0)
  expect(rung).toEqual([
    [1_000, 900],
    [1_000, 0],
  ])
})

it('does not ring early where a timer does, or its clock is set back; it looks again', () => {
  const wall = { ms: 0 }
  const { time, rung, alarm } = made({ clock: () => wall.ms, waitMsMax: 100 })
  alarm.by(250)
  for (const [ms, rings] of [
    [100, 0],
    [50, 0],
    [249, 0],
    [260, 1],
  ] as const) {
    wall.ms = ms
    time.advance(100)
    expect(rung).toHaveLength(rings)
  }
  expect(rung[0]?.[1]).toBe(10)
})

it('that is disposed of never rings, and leaves no timer', () => {
  const { time, start, rung, alarm } = made()
  alarm.by(start + 10)
  alarm[Symbol.dispose]()
  alarm.by(start + 5)
  time.advance(100)
  expect([rung, time.timers]).toEqual([[], 0])
})
