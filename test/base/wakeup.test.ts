/** The wake-up: no wake is lost, none is early, and nobody is kept. */

import { getEventListeners } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Wakeup } from '../../src/base/wakeup.js'

test('wait() resolves at the next wake, not before', async () => {
  const wakeup = new Wakeup()
  const order: string[] = []
  const waiting = wakeup.wait(wakeup.count).then(() => order.push('woken'))
  await Promise.resolve()
  order.push('before')
  wakeup.wake()
  await waiting
  expect(order).toEqual(['before', 'woken'])
})

test('a wake between reading count and waiting is not lost', async () => {
  const wakeup = new Wakeup()
  const seen = wakeup.count
  wakeup.wake()
  await wakeup.wait(seen)
})

test('one wake resumes all who wait, in the order in which they came', async () => {
  const wakeup = new Wakeup()
  const order: number[] = []
  const all = [1, 2, 3].map((who) => wakeup.wait(wakeup.count).then(() => order.push(who)))
  wakeup.wake()
  await Promise.all(all)
  expect(order).toEqual([1, 2, 3])
})

test('who waits again after a wake waits for the next one', async () => {
  const wakeup = new Wakeup()
  let woken = 0
  const loop = (async () => {
    while (woken < 3) {
      await wakeup.wait(wakeup.count)
      woken++
    }
  })()
  for (const expected of [1, 2, 3]) {
    wakeup.wake()
    await setImmediate()
    expect(woken).toBe(expected)
  }
  await loop
})

test('wait() on an aborted signal throws ECANCELED, even if there was a wake', async () => {
  const wakeup = new Wakeup()
  wakeup.wake()
  await expect(wakeup.wait(0, AbortSignal.abort())).rejects.toMatchObject({ code: 'ECANCELED' })
})

test('an abort ends that wait only', async () => {
  const wakeup = new Wakeup()
  const controller = new AbortController()
  const ended = wakeup.wait(0, controller.signal)
  const other = wakeup.wait(0)
  controller.abort()
  await expect(ended).rejects.toMatchObject({ code: 'ECANCELED' })
  wakeup.wake()
  await other
})

test('a wait leaves no listener on its signal, however it ends', async () => {
  const wakeup = new Wakeup()
  const controller = new AbortController()
  const { signal } = controller
  const woken = wakeup.wait(0, signal)
  expect(getEventListeners(signal, 'abort').length).toBe(1)
  wakeup.wake()
  await woken
  await wakeup.wait(0, signal)
  expect(getEventListeners(signal, 'abort').length).toBe(0)
  const ended = wakeup.wait(wakeup.count, signal)
  controller.abort()
  await expect(ended).rejects.toThrow()
  expect(getEventListeners(signal, 'abort').length).toBe(0)
})

test('onWake() calls at the next wake only, unless it was taken back', () => {
  const wakeup = new Wakeup()
  const order: string[] = []
  wakeup.onWake(() => order.push('one'))
  const back = wakeup.onWake(() => order.push('two'))
  wakeup.onWake(() => {
    order.push('three')
    wakeup.onWake(() => order.push('again'))
  })
  back()
  wakeup.wake()
  expect(order).toEqual(['one', 'three'])
  back()
  wakeup.wake()
  wakeup.wake()
  expect(order).toEqual(['one', 'three', 'again'])
})
