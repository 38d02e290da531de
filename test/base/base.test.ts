/** What the rest stands on: promises with two ends, clock and ids. */

import { expect, test } from 'vitest'
import { deferred, isPromise } from '../../src/base/deferred.js'
import { systemEnvironment } from '../../src/base/environment.js'

test('a deferred settles once', async () => {
  const yes = deferred<number>()
  yes.resolve(1)
  yes.resolve(2)
  yes.reject(new Error('late'))
  expect(await yes.promise).toBe(1)
  const no = deferred<number>()
  no.reject(new Error('first'))
  no.resolve(1)
  await expect(no.promise).rejects.toThrow('first')
})

test('a promise is what await takes for one', () => {
  const { promise } = deferred<void>()
  // biome-ignore lint/suspicious/noThenProperty: it is the subject
  for (const value of [promise, { then: () => undefined }]) expect(isPromise(value)).toBe(true)
  // biome-ignore lint/suspicious/noThenProperty: it is the subject
  for (const value of [undefined, null, 1, () => 1, {}, { then: 1 }]) {
    expect(isPromise(value)).toBe(false)
  }
})

test('ids are 32 lower-case hex digits, each another', () => {
  const ids = Array.from({ length: 1000 }, () => systemEnvironment.id())
  expect(ids.every((id) => /^[0-9a-f]{32}$/.test(id))).toBe(true)
  expect(new Set(ids).size).toBe(1000)
})

test('the monotonic clock does not run backwards', () => {
  const times = Array.from({ length: 1000 }, () => systemEnvironment.monotonic())
  expect(times).toEqual([...times].sort((a, b) => a - b))
})

test('now() is the wall clock in ms', () => {
  const before = Date.now()
  const now = systemEnvironment.now()
  expect(now).toBeGreaterThanOrEqual(before)
  expect(now).toBeLessThanOrEqual(Date.now())
})
