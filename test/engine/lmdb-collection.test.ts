/** Collections of the LMDB engine: what a crash or a reopening finds of them, packs that move, and the
 *  index behind. */

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { processStart } from '../../src/base/processes.js'
import type { Blob } from '../../src/blob/blob.js'
import type { Blobref } from '../../src/blob/blobref.js'
import type { Engine, SweepStep } from '../../src/engine/engine.js'
import { openLmdb } from '../../src/engine/lmdb.js'
import type { LmdbBounds } from '../../src/engine/lmdb-engine.js'
import { TestClock } from '../clock.js'
import { liveOf, loadable, sizeOf, sweepAll, sweepOnce } from './contract-collection.js'
import { advanceWith, blobOf, make, temporaryDirectory } from './fixture.js'

const open = (path: string, bounds: LmdbBounds = {}, environment = new TestClock()) =>
  openLmdb(path, { environment, bounds })

/** A copy of an open store as a crash would leave it: the owner in it is nobody who lives. */
async function crashImage(from: string, to: string): Promise<void> {
  const owner = processStart(process.pid) ?? ''
  const bytes = (await readFile(join(from, 'data.mdb'))).toString('latin1')
  await mkdir(to)
  await writeFile(join(to, 'data.mdb'), bytes.replaceAll(owner, '0'.repeat(owner.length)), 'latin1')
}

function many(name: string, count: number): Blob[] {
  return Array.from({ length: count }, (_, i) => {
    return blobOf(`${name} ${i} `.repeat(i % 50 === 49 ? 2_000 : 1 + (i % 5)))
  })
}

async function putInTurn(engine: Engine, blobs: readonly Blob[], size = 10): Promise<void> {
  for (let at = 0; at < blobs.length; at += size) await engine.put(blobs.slice(at, at + size))
}

test('what was freed is not in the file any more once freed pages are written over', async () => {
  await using directory = await temporaryDirectory()
  const store = join(directory.path, 'store')
  const bytes = () => readFile(join(store, 'data.mdb'), 'latin1')
  const blobs = many('hunter', 2_000)
  {
    await using engine = await open(store)
    await putInTurn(engine, blobs, 7)
    {
      using collection = engine.beginCollection()
      await sweepAll(collection)
    }
    expect(await bytes()).toContain('hunter 5 ')
    const { length } = await bytes()
    const { signal } = new AbortController()
    const written = await engine.overwriteFreed({ signal })
    await engine.overwriteFreed({ signal })
    expect(written).toBeGreaterThan(length / 2)
    expect(await bytes()).not.toContain('hunter 5 ')
    const grown = (await bytes()).length
    expect(grown - length).toBeLessThan(3 * 1024 * 1024)
    // Who gives up leaves nothing behind: the pages are free again.
    const stop = new AbortController()
    const onProgress = () => stop.abort()
    const stopped = engine.overwriteFreed({ signal: stop.signal, onProgress })
    await expect(stopped).rejects.toMatchObject({ code: 'ECANCELED' })
    await putInTurn(engine, blobs, 7)
    expect((await bytes()).length - grown).toBeLessThan(1024 * 1024)
  }
  await using again = await open(store)
  expect(await loadable(again, blobs)).not.toContain(false)
})

test('a crash after any step of a sweep loses nothing that is live, and brings nothing back', async () => {
  await using directory = await temporaryDirectory()
  // Refs wait in memory, are on their way to the table, and are in it.
  for (const indexFlushCount of [64, 500, 100_000]) {
    const bounds = { indexFlushCount }
    const store = join(directory.path, `store-${indexFlushCount}`)
    await using engine = await open(store, bounds)
    const blobs = many(`of ${indexFlushCount}`, 6_000)
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
      await crashImage(store, image)
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

test('a pack stays while most of it is live, moves when little is, and goes with its last', async () => {
  await using directory = await temporaryDirectory()
  await using engine = await open(directory.path)
  const blobs = Array.from({ length: 100 }, (_, i) => blobOf(`${i}`.padStart(100)))
  await engine.put(blobs) // one pack
  const thrifty = { thorough: false }
  const freedWith = async (count: number) => {
    const { freed } = await sweepOnce(engine, { live: liveOf(blobs.slice(0, count)), ...thrifty })
    return freed.count
  }
  expect(await freedWith(80)).toBe(0) // 80 % of its bytes are live
  expect(await loadable(engine, blobs)).not.toContain(false)
  expect(await freedWith(75)).toBe(25)
  expect(await loadable(engine, blobs.slice(0, 75))).not.toContain(false)
  expect(await freedWith(70)).toBe(0)
  expect(await freedWith(1)).toBe(74)
  expect(await loadable(engine, blobs.slice(0, 1))).toEqual([true])
  expect(await freedWith(0)).toBe(1)
  expect(engine.stored).toBe(0)
})

test('a put in the same transaction as the sweep that takes what it relies on stores it again', async () => {
  await using directory = await temporaryDirectory()
  await using engine = await open(directory.path)
  const blobs = many('blob', 120)
  await engine.put(blobs)
  const putting = engine.put(blobs) // known: there is nothing to store
  using collection = engine.beginCollection()
  await Promise.all([putting, sweepAll(collection)])
  expect(await loadable(engine, blobs)).not.toContain(false)
  expect(engine.stored).toBe(sizeOf(blobs))
})

test('ids of records that went are not given again', async () => {
  await using directory = await temporaryDirectory()
  const first = await open(directory.path)
  await putInTurn(first, many('gone', 200))
  let last = 0
  {
    using collection = first.beginCollection()
    const options = { live: () => true, sparedSince: 0, dryRun: true }
    // Steps name records: the last one that is there.
    for (let after: number | undefined = 0; after !== undefined; ) {
      last = after
      after = (await collection.step({ after, ...options })).next
    }
    await sweepAll(collection)
  }
  expect(first.stored).toBe(0)
  await first[Symbol.asyncDispose]()
  await using again = await open(directory.path)
  const fresh = blobOf('fresh')
  await again.put([fresh])
  // A sweep that had come as far as the old ones does not take the new one for one that it has passed.
  using collection = again.beginCollection()
  const asked: Blobref[] = []
  const live = (ref: Blobref) => {
    asked.push(ref)
    return true
  }
  await collection.step({ after: Math.max(last, 20), live, sparedSince: 0, dryRun: false })
  expect(asked).toEqual([fresh.ref])
})

test('a store that did not count its bytes begins at 0, and never counts below', async () => {
  await using directory = await temporaryDirectory()
  const first = await open(directory.path)
  const blobs = many('blob', 60)
  await first.put(blobs)
  await first[Symbol.asyncDispose]()
  const file = join(directory.path, 'data.mdb')
  const bytes = (await readFile(file)).toString('latin1')
  await writeFile(file, bytes.replaceAll('stored', 'stones'), 'latin1')
  await using engine = await open(directory.path)
  expect(engine.stored).toBe(0)
  expect((await sweepOnce(engine)).freed).toEqual({ count: 60, size: sizeOf(blobs) })
  expect(engine.stored).toBe(0)
})

test('sweeps between commits of four namespaces lose nothing, whatever the index holds', async () => {
  await using directory = await temporaryDirectory()
  const bounds = { indexFlushCount: 128 }
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

test('what a sweep moves is found at every moment of it', async () => {
  await using directory = await temporaryDirectory()
  await using engine = await open(join(directory.path, 'store'))
  let missed = 0
  for (let round = 0; round < 12; round++) {
    const blobs = Array.from({ length: 3_000 }, (_, i) => blobOf(`${round}/${i} `.repeat(20)))
    await putInTurn(engine, blobs, 100)
    const live = blobs.filter((_, i) => i % 4 === 0)
    const isLive = liveOf(live)
    using collection = engine.beginCollection()
    let after: number | undefined = 0
    while (after !== undefined) {
      const options = { live: isLive, sparedSince: Number.POSITIVE_INFINITY, dryRun: false }
      const step = collection.step({ after, ...options })
      const ended = new AbortController()
      void step.finally(() => ended.abort())
      // The transaction is on disk some turns of the event loop before memory knows of it.
      for (let look = 0; !ended.signal.aborted; look++) {
        for (let at = look % 25; at < live.length; at += 25) {
          const ref = live[at]?.ref
          if (ref && !(await engine.load([ref]))[0]) missed++
        }
        await setImmediate()
      }
      after = (await step).next
    }
  }
  expect(missed).toBe(0)
})
