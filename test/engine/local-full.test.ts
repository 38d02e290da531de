/** The durable engine on a disk that is really full: see test/small-disk.ts. */

import { statSync } from 'node:fs'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, type TestContext, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import type { Blob } from '../../src/blob/blob.js'
import type { Engine, Head } from '../../src/engine/engine.js'
import { openLocal } from '../../src/engine/local-open.js'
import type { LocalBounds } from '../../src/engine/local-state.js'
import { smallDisk } from '../small-disk.js'
import { segmentPaths } from '../support/store-files.js'
import { liveOf, loadable, sizeOf, sweepOnce } from './contract-collection.js'
import { blobOf, codeOf, collect, historyOf, make, next, rootOf } from './fixture.js'

const open = (path: string, bounds: LocalBounds = {}) =>
  openLocal(path, { environment: systemEnvironment, bounds })

/** A file system of 8 MiB, 3 of them taken by a file that can be removed. */
async function fullSoon(context: TestContext) {
  const disk = await smallDisk(8 * 1024 * 1024, context)
  const ballast = join(disk.directory, 'ballast')
  await writeFile(ballast, Buffer.alloc(3 * 1024 * 1024))
  return {
    path: disk.directory,
    store: join(disk.directory, 'store'),
    makeSpace: () => rm(ballast),
    [Symbol.asyncDispose]: () => disk[Symbol.asyncDispose](),
  }
}

function sized(head: Head, size: number) {
  const seq = head.root.seq + 1
  const blob = blobOf(`${seq} `.repeat(size).slice(0, size))
  const part = next(head, `n/${seq}`)
  return { ...part, root: rootOf(seq, part.root.tx, blob), blobs: [blob] }
}

/** Commits until the disk is full, and gives the last head and the part that failed. */
async function fill(engine: Engine, first: Head) {
  let head = first
  for (;;) {
    const part = sized(head, 60_000)
    const [outcome] = await engine.commit([part])
    if (outcome?.status !== 'applied') return { head, part, outcome }
    head = { namespace: head.namespace, root: part.root, revision: outcome.revision }
  }
}

test('a full disk is ENOSPC, reads go on, and writes go on once there is space', async (context) => {
  await using disk = await fullSoon(context)
  const engine = await open(disk.store)
  const full = await fill(engine, await make(engine, 'n'))
  const seqs = full.head.root.seq
  expect(seqs).toBeGreaterThan(10)
  expect(full.outcome).toMatchObject({ status: 'unavailable', applied: 'no' })
  expect(full.outcome?.status === 'unavailable' && full.outcome.error.code).toBe('ENOSPC')
  expect(await readdir(disk.store)).toEqual(['data.mdb', 'journal', 'lock.mdb', 'owner.lock'])

  const others = Array.from({ length: 8 }, (_, i) => blobOf(`${i}`.repeat(70_000)))
  expect(await Promise.all(others.map((blob) => codeOf(engine.put([blob]))))).toEqual(
    others.map(() => 'ENOSPC'),
  )
  expect(await codeOf(make(engine, 'm').then(() => engine.put(others)))).toBe('ENOSPC')

  // Nothing of what failed is there, everything else is.
  expect(await engine.root('n')).toEqual(full.head)
  expect(await engine.load([full.part.root.ref, ...others.map(({ ref }) => ref)])).toEqual(
    Array.from({ length: 9 }, () => undefined),
  )
  expect((await historyOf(engine, 'n', 0)).length).toBe(seqs)
  expect((await engine.load([full.head.root.ref]))[0]?.length).toBe(60_000)

  await disk.makeSpace()
  expect(await engine.commit([full.part])).toMatchObject([{ status: 'applied' }])
  await engine.put(others)
  await engine[Symbol.asyncDispose]()

  await using again = await open(disk.store)
  expect((await again.root('n'))?.root).toEqual(full.part.root)
  const refs = [full.part.root.ref, ...others.map(({ ref }) => ref)]
  const loaded = await again.load(refs)
  expect(loaded.map((bytes) => bytes && blobOf(bytes).ref)).toEqual(refs)
})

test('a store closed on a full disk can be opened again by the same process', async (context) => {
  await using disk = await fullSoon(context)
  const engine = await open(disk.store)
  const full = await fill(engine, await make(engine, 'n'))
  await writeFile(join(disk.path, 'rest'), Buffer.alloc(8 * 1024 * 1024)).catch(() => {})
  await engine[Symbol.asyncDispose]()
  await disk.makeSpace()
  await using again = await open(disk.store)
  expect(await again.root('n')).toEqual(full.head)
  expect(await again.commit([full.part])).toMatchObject([{ status: 'applied' }])
})

test('an opening on a full disk is ENOSPC', async (context) => {
  await using disk = await fullSoon(context)
  await writeFile(join(disk.path, 'rest'), Buffer.alloc(8 * 1024 * 1024)).catch(() => {})
  expect(await codeOf(open(disk.store))).toBe('ENOSPC')
  await disk.makeSpace()
  await using engine = await open(disk.store)
  await make(engine, 'n')
})

test('a write that does not fit leaves no byte behind, at whatever byte the disk is full', async (context) => {
  await using disk = await smallDisk(4 * 1024 * 1024, context)
  const store = join(disk.directory, 'store')
  const engine = await open(store)
  let head = await make(engine, 'n')
  const failed: string[] = []
  // Smaller and smaller ones, so that the disk is full in each part of a record.
  for (const size of [200_000, 70_000, 9_000, 5_000, 3_000, 700, 100, 1]) {
    for (;;) {
      const part = sized(head, size)
      const before = (await segmentPaths(store)).map((path) => statSync(path).size)
      const [outcome] = await engine.commit([part])
      if (outcome?.status !== 'applied') {
        expect(outcome).toMatchObject({ applied: 'no', error: { code: 'ENOSPC' } })
        expect((await segmentPaths(store)).map((path) => statSync(path).size)).toEqual(before)
        failed.push(part.root.tx)
        break
      }
      head = { namespace: head.namespace, root: part.root, revision: outcome.revision }
    }
  }
  const history = await historyOf(engine, 'n')
  expect(history).toHaveLength(head.root.seq + 1)
  await rm(join(store, 'lock.mdb')) // makes the space that an opening needs
  await engine[Symbol.asyncDispose]()
  expect(failed).toHaveLength(8)
})

test('deletes and a collection make room on a full disk, and the disk gets it back', async (context) => {
  await using disk = await smallDisk(48 * 1024 * 1024, context)
  const store = join(disk.directory, 'store')
  const bounds = { segmentSize: 4 * 1024 * 1024 }
  const kept: Blob[] = []
  {
    await using engine = await open(store, bounds)
    const full = await fill(engine, await make(engine, 'n'))
    kept.push(...(await keep(engine)))
    const before = (await engine.diskSize()) ?? 0
    expect(engine.stored).toBeGreaterThan(30 * 1024 * 1024)
    expect(await codeOf(engine.put([blobOf('x'.repeat(60_000))]))).toBe('ENOSPC')
    await engine.remove('n', 'n-1')
    const { freed } = await sweepOnce(engine, { live: liveOf(kept), thorough: false })
    expect(freed.count).toBeGreaterThan(400)
    expect((await engine.diskSize()) ?? 0).toBeLessThan(before / 3)
    expect(await engine.load([full.head.root.ref])).toEqual([undefined])
    expect(await loadable(engine, kept)).not.toContain(false)
    // As much can be written again.
    const again = await fill(engine, await make(engine, 'n', 'n-2'))
    expect(again.head.root.seq).toBeGreaterThan(full.head.root.seq * 0.8)
    await engine.remove('n', 'n-2')
    await sweepOnce(engine, { live: liveOf(kept), thorough: true })
    expect(engine.stored).toBe(sizeOf(kept))
  }
  await using engine = await open(store, bounds)
  expect(await loadable(engine, kept)).not.toContain(false)
})

/** Blobs that are there when the disk is full: the newest roots of what filled it. */
async function keep(engine: Engine): Promise<Blob[]> {
  const roots = await collect(engine.history('n', 0))
  const refs = roots.filter((_, at) => at % 20 === 0).map(({ ref }) => ref)
  return (await engine.load(refs)).flatMap((bytes) => (bytes ? [blobOf(bytes)] : []))
}
