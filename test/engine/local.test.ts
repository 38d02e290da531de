/** The durable engine in one process: the contract, and what is particular to it: reopening, the index
 *  behind, trimming, formats. */

import { readFileSync } from 'node:fs'
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Engine, Head } from '../../src/engine/engine.js'
import { openLocal } from '../../src/engine/local-open.js'
import type { LocalBounds } from '../../src/engine/local-state.js'
import { trimBatch } from '../../src/engine/root-table.js'
import { jobsMax } from '../../src/engine/writer.js'
import { TestClock } from '../clock.js'
import { crashImage, storedText } from '../support/store-files.js'
import { engineContract } from './contract.js'
import {
  advance,
  blobOf,
  codeOf,
  collect,
  historyOf,
  make,
  next,
  temporaryDirectory,
} from './fixture.js'

engineContract('local engine', async (environment) => {
  const directory = await temporaryDirectory()
  return {
    engine: await openLocal(directory.path, { environment }),
    clean: () => directory[Symbol.asyncDispose](),
  }
})

const open = (path: string, bounds: LocalBounds = {}, environment = new TestClock()) =>
  openLocal(path, { environment, bounds })

/** Many roots in few transactions: one chain in each of some namespaces. */
async function grow(engine: Engine, head: Head, count: number, time?: number): Promise<Head> {
  let last = head
  const { name } = head.namespace
  for (let i = 0; i < count; i++) {
    last = await advance(engine, last, `${name}/${last.root.seq + 1}`, time)
  }
  return last
}

test('a store opened again has the same id, heads, history and blobs', async () => {
  await using directory = await temporaryDirectory()
  const first = await open(join(directory.path, 'made/in.between'))
  const head = await grow(first, await make(first, 'n'), 20)
  await make(first, 'm')
  await make(first, 'gone')
  await first.remove('gone', 'gone-1')
  const blobs = Array.from({ length: 40 }, (_, i) => blobOf(`${i}`.repeat(i * 1_000)))
  await first.put(blobs)
  const seen = async (engine: Engine) => ({
    id: engine.storeId,
    heads: new Set(await engine.roots()),
    history: await historyOf(engine, 'n'),
  })
  const before = await seen(first)
  await first[Symbol.asyncDispose]()
  expect((await stat(join(directory.path, 'made'))).mode & 0o777).toBe(0o700)

  await using again = await open(join(directory.path, 'made/in.between'))
  expect(await seen(again)).toEqual(before)
  expect(await again.root('n')).toEqual(head)
  const loaded = await again.load(blobs.map(({ ref }) => ref))
  expect(loaded.map((bytes) => bytes && blobOf(bytes).ref)).toEqual(blobs.map(({ ref }) => ref))
  await grow(again, head, 1)
})

test('one process opens a directory once at a time, by whatever path', async () => {
  await using directory = await temporaryDirectory()
  await using first = await open(directory.path)
  const second = open(`${directory.path}/../${directory.path.split('/').at(-1)}/`)
  await expect(second).rejects.toThrow(`process ${process.pid}`)
  expect(await codeOf(open(directory.path))).toBe('EBUSY')
  await make(first, 'n') // the refused opening has not closed it
  await first[Symbol.asyncDispose]()
  await using again = await open(directory.path)
  expect((await again.root('n'))?.root.seq).toBe(0)
})

test('a store of a newer format is refused and left alone', async () => {
  await using directory = await temporaryDirectory()
  const engine = await open(directory.path)
  await make(engine, 'n')
  await engine[Symbol.asyncDispose]()
  const file = join(directory.path, 'data.mdb')
  const patch = async (from: string, to: string) => {
    const bytes = (await readFile(file)).toString('latin1')
    expect(bytes).toContain(from)
    await writeFile(file, bytes.replaceAll(from, to), 'latin1')
  }
  await patch('format\x02', 'format\x03')
  expect(await codeOf(open(directory.path))).toBe('EMISCONFIGURED')
  await expect(open(directory.path)).rejects.toThrow('format 3')
  await patch('format\x03', 'format\x02')
  await using again = await open(directory.path)
  expect((await again.root('n'))?.root.seq).toBe(0)
})

test('what is no store is ECORRUPT, what cannot be opened is EIO, both with the path', async () => {
  await using directory = await temporaryDirectory()
  const inside = (name: string) => join(directory.path, name)
  const files = {
    short: Buffer.from('x'),
    page: Buffer.alloc(4_096, 'x'),
    pages: Buffer.alloc(12_288, 'x'),
    zeros: Buffer.alloc(16_384),
  }
  for (const [name, bytes] of Object.entries(files)) {
    await mkdir(inside(name))
    await writeFile(inside(`${name}/data.mdb`), bytes)
    expect(await codeOf(open(inside(name)))).toBe('ECORRUPT')
    expect(await readFile(inside(`${name}/data.mdb`))).toEqual(bytes)
  }
  await writeFile(inside('file'), '')
  await mkdir(inside('directory/data.mdb'), { recursive: true })
  for (const path of [inside('file'), inside('directory')]) {
    expect(await codeOf(open(path))).toBe('EIO')
    await expect(open(path)).rejects.toThrow(path)
  }
})

test('a file that was being made when the power went is begun anew', async () => {
  await using directory = await temporaryDirectory()
  const path = join(directory.path, 'made')
  await using made = await open(path)
  await make(made, 'n')
  await made[Symbol.asyncDispose]()
  const whole = await readFile(join(path, 'data.mdb'))
  // As the disk may have it before the first sync: the sectors of three pages, each written or not.
  const lacking = (...sectors: number[]) => {
    const bytes = Buffer.from(whole.subarray(0, 12_288))
    for (const sector of sectors) bytes.fill(0, sector * 512, sector * 512 + 512)
    return bytes
  }
  const unfinished = [lacking(0), lacking(8), lacking(0, 8), lacking(0).subarray(0, 1_024)]
  for (const [index, bytes] of unfinished.entries()) {
    const inside = join(directory.path, `${index}`)
    await mkdir(inside)
    await writeFile(join(inside, 'data.mdb'), bytes)
    await using engine = await open(inside)
    await make(engine, 'n')
  }
  // One page more may hold something: it is not touched.
  const longer = Buffer.from(whole.subarray(0, 16_384)).fill(0, 0, 512)
  await mkdir(join(directory.path, 'longer'))
  await writeFile(join(directory.path, 'longer/data.mdb'), longer)
  expect(await codeOf(open(join(directory.path, 'longer')))).toBe('ECORRUPT')
  expect(await readFile(join(directory.path, 'longer/data.mdb'))).toEqual(longer)
})

test('epochs of leaders grow over openings', async () => {
  await using directory = await temporaryDirectory()
  const first = await open(directory.path)
  await make(first, 'n')
  const epoch = await first.lead('n', 'a', 1_000)
  await first[Symbol.asyncDispose]()
  await using again = await open(directory.path)
  expect(await again.lead('n', 'b', 1_000)).toBeGreaterThan(epoch)
})

test('a ref that is known is not stored again', async () => {
  await using directory = await temporaryDirectory()
  await using engine = await open(directory.path)
  const blobs = [blobOf('small'), blobOf(Buffer.alloc(200_000, 1))]
  await engine.put([...blobs, ...blobs])
  const { waiting } = engine
  const text = await storedText(directory.path)
  for (let i = 0; i < 20; i++) await engine.put(blobs)
  expect(engine.waiting).toBe(waiting)
  expect((await storedText(directory.path)).length).toBe(text.length)
})

test('the index stays bounded in memory, is whole at every boundary, and empty after a close', async () => {
  await using directory = await temporaryDirectory()
  const bounds = { flushCount: 64 }
  const blobs = Array.from({ length: 1_000 }, (_, i) => blobOf(`indexed ${i}`))
  const refs = blobs.map(({ ref }) => ref)
  const first = await open(directory.path, bounds)
  const waiting: number[] = []
  for (let at = 0; at < blobs.length; at += 10) {
    await first.put(blobs.slice(at, at + 10))
    waiting.push(first.waiting)
    if (at % 30 !== 0) continue // there are several loads between two flushes
    const loaded = await first.load(refs)
    expect(loaded.filter((bytes) => bytes).length).toBe(at + 10)
  }
  expect(Math.max(...waiting)).toBeLessThanOrEqual(64 * 2 + 11)
  expect(Math.min(...waiting.slice(20))).toBeLessThan(64)
  const left = first.waiting
  expect(left).toBeGreaterThan(0)
  await first[Symbol.asyncDispose]()
  await using again = await open(directory.path, bounds)
  expect(again.waiting).toBe(0)
  expect((await again.load(refs)).map((bytes) => bytes && blobOf(bytes).ref)).toEqual(refs)
})

test('a crash at any point of a flush of the tables loses no blob', async () => {
  await using directory = await temporaryDirectory()
  const bounds = { flushCount: 6_000 } // several transactions
  const blobs = Array.from({ length: 6_100 }, (_, i) => blobOf(`flushed ${i}`))
  const refs = blobs.map(({ ref }) => ref)
  const store = join(directory.path, 'store')
  await using engine = await open(store, bounds)
  await engine.put(blobs.slice(0, 6_050))
  await engine.put(blobs.slice(6_050)) // a flush begins before it
  const images: string[] = []
  let last: Buffer | undefined
  for (let turn = 0; engine.waiting > 1_000 && turn < 100_000; turn++) {
    await setImmediate()
    const bytes = readFileSync(join(store, 'data.mdb'))
    if (last?.equals(bytes)) continue
    last = bytes
    images.push(join(directory.path, `image-${turn}`))
    crashImage(store, images.at(-1) ?? '')
  }
  expect(images.length).toBeGreaterThan(4)
  for (const image of images) {
    await using crashed = await open(image, bounds)
    expect((await crashed.load(refs)).map((bytes) => bytes && blobOf(bytes).ref)).toEqual(refs)
    await crashed[Symbol.asyncDispose]()
    await rm(image, { recursive: true })
  }
})

test('history spans pages, and one that trimming overtakes says so', async () => {
  await using directory = await temporaryDirectory()
  const bounds = { history: { count: 8, ageMs: 1_000 } }
  const clock = new TestClock()
  await using engine = await open(directory.path, bounds, clock)
  let head = await grow(engine, await make(engine, 'n'), 300, clock.now() + 10_000)
  const seqs = (await collect(engine.history('n', -1))).map(({ seq }) => seq)
  expect(seqs).toEqual(Array.from({ length: 301 }, (_, seq) => seq))

  const slow = engine.history('n', -1)[Symbol.asyncIterator]()
  expect((await slow.next()).value).toMatchObject({ seq: 0 })
  clock.advance(20_000)
  head = await grow(engine, head, 10, clock.now())
  const rest = async () => {
    for (let item = await slow.next(); !item.done; item = await slow.next());
  }
  expect(await codeOf(rest())).toBe('ECOMPACTED')
})

test('roots that are too many and too old are dropped, over openings too', async () => {
  await using directory = await temporaryDirectory()
  const bounds = { history: { count: 8, ageMs: 1_000 } }
  const clock = new TestClock()
  const first = await open(directory.path, bounds, clock)
  const young = await grow(first, await make(first, 'n'), 3 * trimBatch, clock.now())
  expect((await historyOf(first, 'n')).length).toBe(3 * trimBatch + 1)
  await first[Symbol.asyncDispose]()

  clock.advance(1_001)
  await using engine = await open(directory.path, bounds, clock)
  const part = next(young, `n/${young.root.seq + 1}`, clock.now())
  const head = await grow(engine, young, 10, clock.now())
  const seqs = (await collect(engine.history('n', -1))).map(({ seq }) => seq)
  expect(seqs.length).toBeGreaterThanOrEqual(8)
  expect(seqs.length).toBeLessThan(8 + trimBatch)
  expect(seqs.at(-1)).toBe(head.root.seq)
  expect(seqs.every((seq, i) => i === 0 || seq === (seqs[i - 1] ?? 0) + 1)).toBe(true)
  expect(await engine.commit([part])).toMatchObject([{ status: 'applied' }]) // its tx is retained
})

test('the roots of a removed namespace are dropped by later commits', async () => {
  await using directory = await temporaryDirectory()
  const first = await open(directory.path)
  await grow(first, await make(first, 'n'), 2 * trimBatch + 5)
  let head = await make(first, 'm')
  await first.remove('n', 'n-1')
  expect(first.burialsWaiting).toBe(1)
  head = await advance(first, head, 'one')
  await first[Symbol.asyncDispose]()

  await using engine = await open(directory.path)
  expect(engine.burialsWaiting).toBe(1)
  await make(engine, 'n', 'n-2') // another id: nothing of the old life shows
  expect(await historyOf(engine, 'n')).toEqual(['n-2/0'])
  for (const tx of ['two', 'three']) head = await advance(engine, head, tx)
  expect(engine.burialsWaiting).toBe(0)
  expect(await historyOf(engine, 'n')).toEqual(['n-2/0'])
})

test('jobs above the bound are EBUSY at once, the others are done', async () => {
  await using directory = await temporaryDirectory()
  await using engine = await open(directory.path)
  const codes = await Promise.all(
    Array.from({ length: jobsMax + 1 }, () => codeOf(engine.put([blobOf('one')]))),
  )
  expect(codes.filter((code) => code === 'no error').length).toBe(jobsMax)
  expect(codes.at(-1)).toBe('EBUSY')
})
