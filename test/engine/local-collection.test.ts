/** Collections of the durable engine: what a crash or a reopening finds of them, segments whose blobs move,
 *  and the index behind. */

import { randomBytes } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Blob } from '../../src/blob/blob.js'
import type { Blobref } from '../../src/blob/blobref.js'
import type { Engine, SweepStep } from '../../src/engine/engine.js'
import { openLocal } from '../../src/engine/local-open.js'
import type { LocalBounds } from '../../src/engine/local-state.js'
import { groupSizeMax } from '../../src/engine/writer.js'
import { TestClock } from '../clock.js'
import { crashImage, segmentPaths, storedText } from '../support/store-files.js'
import { liveOf, loadable, sizeOf, sweepAll, sweepOnce } from './contract-collection.js'
import { advanceWith, blobOf, make, temporaryDirectory } from './fixture.js'

const open = (path: string, bounds: LocalBounds = {}, environment = new TestClock()) =>
  openLocal(path, { environment, bounds })

function many(name: string, count: number): Blob[] {
  return Array.from({ length: count }, (_, i) => {
    return blobOf(`${name} ${i} `.repeat(i % 50 === 49 ? 2_000 : 1 + (i % 5)))
  })
}

async function putInTurn(engine: Engine, blobs: readonly Blob[], size = 10): Promise<void> {
  for (let at = 0; at < blobs.length; at += size) await engine.put(blobs.slice(at, at + size))
}

test('what a thorough sweep freed is not in the files any more, and is counted once', async () => {
  await using directory = await temporaryDirectory()
  const store = join(directory.path, 'store')
  const blobs = many('hunter', 1_600)
  {
    await using engine = await open(store, { segmentSize: 64 * 1024 })
    await putInTurn(engine, blobs, 7)
    const before = await segmentPaths(store)
    expect(before.length).toBeGreaterThan(10)
    const { length } = await storedText(store)
    expect((await sweepOnce(engine, { thorough: false })).overwritten).toBe(0)
    await putInTurn(engine, blobs, 7)
    expect(await storedText(store)).toContain('hunter 5 ')
    const { overwritten } = await sweepOnce(engine, { thorough: true })
    expect(overwritten).toBeGreaterThanOrEqual(sizeOf(blobs))
    const text = await storedText(store)
    expect(text).not.toContain('hunter 5 ')
    expect(text.length).toBeLessThan(length / 2)
    expect((await sweepOnce(engine, { thorough: true })).overwritten).toBe(0)
    await putInTurn(engine, blobs, 7)
  }
  await using again = await open(store)
  expect(await loadable(again, blobs)).not.toContain(false)
})

test('a crash after any step of a sweep loses nothing that is live, and brings nothing back', async () => {
  await using directory = await temporaryDirectory()
  // Refs wait in memory, are on their way to the table, and are in it.
  for (const flushCount of [64, 500, 100_000]) {
    const bounds = { flushCount }
    const store = join(directory.path, `store-${flushCount}`)
    await using engine = await open(store, bounds)
    const blobs = many(`of ${flushCount}`, 1_600)
    await putInTurn(engine, blobs, 200)
    const live = blobs.filter((_, i) => i % 4 === 0)
    const isLive = liveOf(live)
    using collection = engine.beginCollection()
    let after: number | undefined = 0
    let steps = 0
    while (after !== undefined) {
      const options = { live: isLive, sparedSince: Number.POSITIVE_INFINITY, dryRun: false }
      const swept = await collection.step({ after, ...options })
      after = swept.next
      steps++
      const image = `${store}-image-${steps}`
      crashImage(store, image)
      await using crashed = await open(image, bounds)
      expect(await loadable(crashed, live)).not.toContain(false)
      expect(await loadable(crashed, blobs)).toEqual(await loadable(engine, blobs))
      expect(crashed.stored).toBe(engine.stored)
      // It goes on where the crash came.
      await sweepOnce(crashed, { live: isLive })
      expect(crashed.stored).toBe(sizeOf(live))
      expect(await loadable(crashed, live)).not.toContain(false)
    }
    expect(steps).toBeGreaterThanOrEqual(3)
  }
})

test('a sweep goes on after a reopening, where it was', async () => {
  await using directory = await temporaryDirectory()
  const blobs = many('blob', 6_000)
  const live = blobs.filter((_, i) => i % 7 === 0)
  let after: number | undefined = 0
  const seen: Blobref[] = []
  const isLive = liveOf(live)
  {
    await using engine = await open(directory.path)
    await putInTurn(engine, blobs, 100)
  }
  let openings = 0
  while (after !== undefined) {
    openings++
    await using engine = await open(directory.path)
    using collection = engine.beginCollection()
    const look = (ref: Blobref) => {
      seen.push(ref)
      return isLive(ref)
    }
    const sparedSince = Number.POSITIVE_INFINITY
    const step: SweepStep = { after, live: look, sparedSince, dryRun: false, thorough: true }
    const swept = await collection.step(step)
    after = swept.next
  }
  expect(openings).toBeGreaterThanOrEqual(3)
  // Live ones may have moved to where they were looked at again.
  expect(new Set(seen).size).toBe(blobs.length)
  await using engine = await open(directory.path)
  expect(engine.stored).toBe(sizeOf(live))
  expect(await loadable(engine, live)).not.toContain(false)
  expect((await loadable(engine, blobs)).filter((is) => is).length).toBe(live.length)
})

test('a segment stays while most of it is live, its blobs move when little is, and it goes', async () => {
  await using directory = await temporaryDirectory()
  const size = 4 * 1024 * 1024
  await using engine = await open(directory.path, { segmentSize: size })
  const blobs = Array.from({ length: 100 }, (_, i) => blobOf(Buffer.alloc(size / 100, i + 1)))
  for (let at = 0; at < 100; at += 20) await engine.put(blobs.slice(at, at + 20))
  await engine.put([blobOf('in the next one')])
  const [first = ''] = await segmentPaths(directory.path)
  const sweep = async (count: number, others: readonly Blob[] = []) => {
    const live = liveOf([...blobs.slice(0, count), ...others])
    await sweepOnce(engine, { live, thorough: false })
    expect(await loadable(engine, blobs.slice(0, count))).not.toContain(false)
    expect(engine.stored).toBe(sizeOf(blobs.slice(0, count)) + sizeOf(others))
    return (await segmentPaths(directory.path)).includes(first)
  }
  const taken = (await stat(first)).blocks
  expect(await sweep(80)).toBe(true)
  // Its holes go back to the disk at once.
  expect((await stat(first)).blocks).toBeLessThan(taken * 0.85)
  expect(await sweep(0)).toBe(false)
  expect(engine.stored).toBe(0)
})

test('a segment of small dead blobs goes once its live ones have moved', async () => {
  await using directory = await temporaryDirectory()
  const size = 4 * 1024 * 1024
  await using engine = await open(directory.path, { segmentSize: size })
  // Neighbours are not dead together, so that no hole can be made.
  const blobs = Array.from({ length: 4_200 }, (_, i) => blobOf(`${i} `.repeat(400).slice(0, 1_000)))
  await putInTurn(engine, blobs, 100)
  const [first = ''] = await segmentPaths(directory.path)
  const liveAt = async (share: number) => {
    const live = blobs.filter((_, i) => i % 20 < share * 20)
    await sweepOnce(engine, { live: liveOf(live), thorough: false })
    expect(await loadable(engine, live)).not.toContain(false)
    expect(engine.stored).toBe(sizeOf(live))
    return (await segmentPaths(directory.path)).includes(first)
  }
  expect(await liveAt(0.7)).toBe(true)
  expect(await liveAt(0.2)).toBe(false)
})

test('a put in the same transaction as the sweep that takes what it relies on stores it again', async () => {
  await using directory = await temporaryDirectory()
  await using engine = await open(directory.path)
  const blobs = many('blob', 8)
  await engine.put(blobs)
  // Two records are before that of the put: once the second one is on its way, the sweep looks.
  const large = Array.from({ length: 2 }, () => blobOf(randomBytes(groupSizeMax)))
  const before = large.map((blob) => engine.put([blob]))
  await setImmediate()
  const putting = engine.put(blobs) // known: there is nothing to store
  using collection = engine.beginCollection()
  await Promise.all([...before, putting, sweepAll(collection)])
  expect(await loadable(engine, blobs)).not.toContain(false)
  expect(engine.stored).toBe(sizeOf([...blobs, ...large]))
})

test('ids of segments that went are not given again', async () => {
  await using directory = await temporaryDirectory()
  const bounds = { segmentSize: 16 * 1024 }
  const first = await open(directory.path, bounds)
  await putInTurn(first, many('gone', 200))
  const before = await segmentPaths(directory.path)
  let last = 0
  {
    using collection = first.beginCollection()
    const options = { live: () => true, sparedSince: 0, dryRun: true }
    // Steps name segments: the last one that is there.
    for (let after: number | undefined = 0; after !== undefined; ) {
      last = after
      after = (await collection.step({ after, ...options })).next
    }
    await sweepAll(collection)
  }
  expect(first.stored).toBe(0)
  await first[Symbol.asyncDispose]()
  await using again = await open(directory.path, bounds)
  const fresh = blobOf('fresh')
  await again.put([fresh])
  for (const path of await segmentPaths(directory.path)) expect(before).not.toContain(path)
  // A sweep that had come as far as the old ones does not take the new one for one that it has passed.
  using collection = again.beginCollection()
  const asked: Blobref[] = []
  const live = (ref: Blobref) => {
    asked.push(ref)
    return true
  }
  for (let after: number | undefined = last; after !== undefined; ) {
    after = (await collection.step({ after, live, sparedSince: 0, dryRun: false })).next
  }
  expect(asked).toEqual([fresh.ref])
})

test('sweeps between commits of four namespaces lose nothing, whatever the index holds', async () => {
  await using directory = await temporaryDirectory()
  const bounds = { flushCount: 128 }
  const roots = new Map<string, Blob[]>()
  {
    await using engine = await open(directory.path, bounds)
    let writing = true
    const write = async (name: string) => {
      let head = await make(engine, name)
      for (let round = 1; round <= 60; round++) {
        const blobs = many(`${name} ${round % 9}`, 12)
        head = await advanceWith(engine, head, `${name}/${round}`, blobs)
        roots.set(name, blobs) // the newest only
      }
    }
    const sweep = async () => {
      let freed = 0
      while (writing) {
        await setImmediate() // a sweep of an empty store waits for nothing
        using collection = engine.beginCollection()
        const live = [...roots.values()].flat()
        freed += (await sweepAll(collection, { live: liveOf(live) })).freed.count
      }
      return freed
    }
    const sweeping = sweep()
    await Promise.all(['a', 'b', 'c', 'd'].map(write))
    writing = false
    expect(await sweeping).toBeGreaterThan(100)
    expect(await loadable(engine, [...roots.values()].flat())).not.toContain(false)
  }
  await using engine = await open(directory.path, bounds)
  expect(await loadable(engine, [...roots.values()].flat())).not.toContain(false)
})

test.each([false, true])(
  'what a sweep moves is found at every moment of it (thorough: %s)',
  async (thorough) => {
    await using directory = await temporaryDirectory()
    await using engine = await open(join(directory.path, 'store'))
    let missed = 0
    for (let round = 0; round < 3; round++) {
      const blobs = Array.from({ length: 1_500 }, (_, i) => blobOf(`${round}/${i} `.repeat(20)))
      await putInTurn(engine, blobs, 100)
      const live = blobs.filter((_, i) => i % 4 === 0)
      const isLive = liveOf(live)
      using collection = engine.beginCollection()
      let after: number | undefined = 0
      while (after !== undefined) {
        const options = {
          live: isLive,
          sparedSince: Number.POSITIVE_INFINITY,
          dryRun: false,
          thorough,
        }
        const step = collection.step({ after, ...options })
        const ended = new AbortController()
        void step.finally(() => ended.abort())
        // The transaction is on disk some turns of the event loop before memory knows of it.
        for (let look = 0; !ended.signal.aborted; look++) {
          for (let at = look % 25; at < live.length; at += 25) {
            const blob = live[at]
            if (!blob) continue
            const [bytes] = await engine.load([blob.ref])
            if (!bytes || Buffer.compare(bytes, blob.bytes) !== 0) missed++
          }
          await setImmediate()
        }
        after = (await step).next
      }
    }
    expect(missed).toBe(0)
  },
)
