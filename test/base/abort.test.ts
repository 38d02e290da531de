/** Waiting for a promise or a signal, whichever is first. */

import { getEventListeners } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { joinAbort } from '../../src/base/abort.js'
import { deferred } from '../../src/base/deferred.js'
import { TailraceError } from '../../src/error.js'

test('joinAbort() is the promise while nothing aborts, and leaves no listener', async () => {
  const { signal } = new AbortController()
  const yes = deferred<number>()
  const joined = joinAbort(yes.promise, signal)
  expect(getEventListeners(signal, 'abort').length).toBe(1)
  yes.resolve(7)
  expect(await joined).toBe(7)
  await expect(joinAbort(Promise.reject(new Error('no')), signal)).rejects.toThrow('no')
  expect(getEventListeners(signal, 'abort').length).toBe(0)
  expect(await joinAbort(Promise.resolve(8))).toBe(8)
})

test('an abort is first, with its reason, and the late failure is nobody’s', async () => {
  const controller = new AbortController()
  const late = deferred<number>()
  const joined = joinAbort(late.promise, controller.signal)
  const closed = new TailraceError('ECLOSED', 'the store was closed')
  controller.abort(closed)
  await expect(joined).rejects.toBe(closed)
  expect(getEventListeners(controller.signal, 'abort').length).toBe(0)
  late.reject(new Error('too late'))
  await setImmediate()
})

test('a signal that is aborted already wins over a promise that is settled', async () => {
  const joined = joinAbort(Promise.resolve(1), AbortSignal.abort())
  await expect(joined).rejects.toMatchObject({ code: 'ECANCELED' })
})
