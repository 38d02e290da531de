/** Streams that a signal ends: also one whose next item never comes. */

import { getEventListeners } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { abortable } from '../../src/base/abort.js'
import { deferred } from '../../src/base/deferred.js'

test.each([undefined, new AbortController().signal])(
  'abortable() gives every item',
  async (signal) => {
    const items: number[] = []
    for await (const item of abortable(numbers(3), signal)) items.push(item)
    expect(items).toEqual([0, 1, 2])
  },
)

test('an abort ends a stream whose next item never comes', async () => {
  const controller = new AbortController()
  const stream = abortable(stuck(), controller.signal)
  expect(await stream.next()).toEqual({ done: false, value: 0 })
  const next = stream.next()
  controller.abort()
  await expect(next).rejects.toMatchObject({ code: 'ECANCELED' })
  expect(await stream.next()).toEqual({ done: true, value: undefined })
})

test('an aborted signal ends the stream before its source is asked', async () => {
  let asked = 0
  const source = (async function* () {
    yield asked++
  })()
  const stream = abortable(source, AbortSignal.abort())
  await expect(stream.next()).rejects.toMatchObject({ code: 'ECANCELED' })
  expect(asked).toBe(0)
})

test('an abort while the consumer works ends the stream at the next item', async () => {
  const controller = new AbortController()
  const stream = abortable(numbers(3), controller.signal)
  await stream.next()
  controller.abort()
  await expect(stream.next()).rejects.toMatchObject({ code: 'ECANCELED' })
})

test('the source is told to finish when the consumer stops', async () => {
  let finished = false
  const source = (async function* () {
    try {
      for (;;) yield 1
    } finally {
      await setImmediate()
      finished = true
    }
  })()
  for await (const _ of abortable(source, new AbortController().signal)) break
  expect(finished).toBe(true)
})

test('an error of the source comes through, and a late one is nobody’s', async () => {
  const broken = async function* () {
    yield 1
    throw new Error('broken')
  }
  const stream = abortable(broken(), new AbortController().signal)
  await stream.next()
  await expect(stream.next()).rejects.toThrow('broken')

  const controller = new AbortController()
  const late = deferred<number>()
  const failing = abortable(
    (async function* () {
      yield await late.promise
    })(),
    controller.signal,
  )
  const next = failing.next()
  controller.abort()
  await expect(next).rejects.toMatchObject({ code: 'ECANCELED' })
  late.reject(new Error('too late'))
  await setImmediate()
})

test('no listener stays on the signal', async () => {
  const { signal } = new AbortController()
  for await (const _ of abortable(numbers(3), signal)) {
    expect(getEventListeners(signal, 'abort').length).toBeLessThanOrEqual(1)
  }
  expect(getEventListeners(signal, 'abort').length).toBe(0)
})

async function* numbers(count: number): AsyncGenerator<number> {
  for (let at = 0; at < count; at++) yield at
}

async function* stuck(): AsyncGenerator<number> {
  yield 0
  await deferred<void>().promise
}
