/** The durable engine on tables with a damaged page: what is whole is read. See rfc/4, rule 22. */

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { open as openLmdb } from 'lmdb'
import { expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.js'
import type { Blob } from '../../src/blob/blob.js'
import { openLocal } from '../../src/engine/local-open.js'
import type { LocalBounds } from '../../src/engine/local-state.js'
import { indexKey, parsePlace, uint64 } from '../../src/engine/record.js'
import type { Place } from '../../src/journal/place.js'
import { headerSize } from '../../src/journal/segment.js'
import { misdirect, segmentPaths } from '../support/store-files.js'
import { loadable, sweepOnce } from './contract-collection.js'
import { blobOf, codeOf, temporaryDirectory } from './fixture.js'

const open = (path: string, bounds: LocalBounds = {}) =>
  openLocal(path, { environment: systemEnvironment, bounds })

test('after a read that meets a damaged page, the others are read as before', async () => {
  await using directory = await temporaryDirectory()
  const blobs = Array.from({ length: 3_000 }, (_, n) => blobOf(`${n} `.repeat(10)))
  {
    await using engine = await open(directory.path)
    await engine.put(blobs)
  }
  await misdirect(join(directory.path, 'data.mdb'))

  await using again = await open(directory.path)
  const codes = await Promise.all(blobs.map((blob) => codeOf(again.load([blob.ref]))))
  const hurt = blobs.filter((_, at) => codes[at] === 'ECORRUPT')
  const whole = blobs.filter((_, at) => codes[at] === 'no error')
  expect(hurt.length).toBeGreaterThan(10)
  expect(whole.length).toBeGreaterThan(1_000)
  expect(hurt.length + whole.length).toBe(blobs.length)
  expect(await loadable(again, whole)).not.toContain(false)
  // In the same turn of the event loop.
  const [one, other] = [hurt[0], whole[0]] as [Blob, Blob]
  const both = await Promise.allSettled([again.load([one.ref]), again.load([other.ref])])
  expect(both.map(({ status }) => status)).toEqual(['rejected', 'fulfilled'])
  // A write that has to look there is refused, and another is done.
  expect(await codeOf(again.put([one]))).toBe('ECORRUPT')
  const fresh = blobOf('fresh')
  await again.put([fresh, other])
  expect(await again.load([fresh.ref])).toEqual([Buffer.from(fresh.bytes)])
})

test('a collection keeps a segment with a damaged head, and goes on with the next', async () => {
  await using directory = await temporaryDirectory()
  const bounds = { segmentSize: 10_000 }
  const blobs = Array.from({ length: 40 }, (_, n) => blobOf(`${n} `.repeat(400)))
  {
    await using engine = await open(directory.path, bounds)
    for (const blob of blobs) await engine.put([blob])
  }
  const [first = ''] = await segmentPaths(directory.path)
  const bytes = await readFile(first)
  bytes.writeUInt8((bytes[headerSize] ?? 0) ^ 1, headerSize) // the mark of its first record
  await writeFile(first, bytes)
  const kept: Blob[] = []
  for (const blob of blobs) {
    if ((await placeIn(directory.path, blob)).segment === 1) kept.push(blob)
  }
  await using again = await open(directory.path, bounds)
  const { freed } = await sweepOnce(again)
  expect(freed.count).toBe(blobs.length - kept.length)
  expect(await segmentPaths(directory.path)).toContain(first)
  expect(await loadable(again, kept)).not.toContain(false)
  await again.put(blobs)
  expect(await loadable(again, blobs)).not.toContain(false)
})

test('a segment whose row is lost is kept while the index finds a blob in it, and goes otherwise', async () => {
  await using directory = await temporaryDirectory()
  const bounds = { segmentSize: 10_000 }
  const blobs = Array.from({ length: 40 }, (_, n) => blobOf(`${n} `.repeat(400)))
  let stored = 0
  {
    await using engine = await open(directory.path, bounds)
    for (const blob of blobs) await engine.put([blob])
    stored = engine.stored
  }
  const before = await segmentPaths(directory.path)
  expect(before.length).toBeGreaterThan(3)
  await removeRow(directory.path, 'segments', uint64(1))
  {
    await using again = await open(directory.path, bounds)
    expect(await segmentPaths(directory.path)).toEqual(before)
    expect(await loadable(again, blobs)).not.toContain(false)
    expect(again.stored).toBe(stored)
  }
  // As a collection leaves it that ends before it removes the file.
  const kept: Blob[] = []
  for (const blob of blobs) {
    if ((await placeIn(directory.path, blob)).segment > 1) kept.push(blob)
    else await removeRow(directory.path, 'index', indexKey(blob.ref))
  }
  await removeRow(directory.path, 'segments', uint64(1))
  await using last = await open(directory.path, bounds)
  expect(await segmentPaths(directory.path)).toEqual(before.slice(1))
  expect(await loadable(last, kept)).not.toContain(false)
})

async function removeRow(path: string, table: string, key: Buffer): Promise<void> {
  await withTable(path, table, (rows) => rows.removeSync(key))
}

function placeIn(path: string, { ref }: Blob): Promise<Place> {
  return withTable(path, 'index', (rows) => parsePlace(rows.get(indexKey(ref))))
}

type Rows = { get(key: Uint8Array): Buffer; removeSync(key: Uint8Array): unknown }

async function withTable<T>(path: string, name: string, act: (rows: Rows) => T): Promise<T> {
  const binary = { encoding: 'binary', keyEncoding: 'binary' } as const
  const root = openLmdb({ path, noSubdir: false, ...binary })
  try {
    return act(root.openDB({ name, ...binary }) as unknown as Rows)
  } finally {
    await root.close()
  }
}
