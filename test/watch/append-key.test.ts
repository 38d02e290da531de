/** Who is woken of those that wait for a key, and what ends its following. See rfc/7. */

import { setImmediate } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { TailraceError } from '../../src/error.js'
import { AppendKey } from '../../src/watch/append-key.js'
import type { Sight } from '../../src/watch/sights.js'

/** Sights that a test gives. */
class Given implements Disposable {
  readonly follower: { onMark: (() => void) | undefined } = { onMark: undefined }
  readonly waiting: Sight[] = []
  isMarked = false
  isDisposed = false

  async next(): Promise<Sight | undefined> {
    this.isMarked = false
    return this.waiting.shift()
  }

  give(code: 'ENONS' | 'ECLOSED'): void {
    this.waiting.push({ gone: new TailraceError(code, 'gone') })
    this.isMarked = true
    this.follower.onMark?.()
  }

  [Symbol.dispose](): void {
    this.isDisposed = true
  }
}

function followed() {
  const key = new AppendKey('a', {} as never, () => 0, {} as never)
  const sights = new Given()
  const ends: string[] = []
  key.follow(sights, () => ends.push('ended'))
  return { key, sights, ends }
}

it('that a key is still not there wakes nobody, and why it is not there does', async () => {
  const { key, sights } = followed()
  for (let n = 0; n < 10; n++) sights.give('ENONS')
  await setImmediate()
  expect(key.changed.count).toBe(1)
  sights.give('ECLOSED')
  await setImmediate()
  expect(key.changed.count).toBe(2)
})

it('a mark that comes at any moment of a look is looked at', async () => {
  const { key, sights } = followed()
  for (let turns = 0; turns < 12; turns++) {
    sights.give(turns % 2 === 0 ? 'ENONS' : 'ECLOSED')
    // A look takes some turns of the microtasks: the mark meets each of them.
    for (let n = 0; n < turns; n++) await undefined
  }
  await setImmediate()
  expect(sights.waiting).toEqual([])
  expect(key.absence?.code).toBe('ECLOSED')
})

it('ends once, at rest and in the middle of a look', async () => {
  const atRest = followed()
  await setImmediate()
  atRest.key.stop()
  expect(atRest.ends).toEqual(['ended'])
  expect(atRest.sights.isDisposed).toBe(true)
  expect(atRest.sights.follower.onMark).toBeUndefined()

  const looking = followed()
  looking.sights.give('ENONS')
  looking.key.stop()
  expect(looking.ends).toEqual([])
  await setImmediate()
  expect(looking.ends).toEqual(['ended'])
})
