/** The journal as a log: appends, reads, segments that turn over, and what an open replays, against
 *  the simplest model, a list of records. See rfc/21. */

import { constants } from 'node:fs'
import { open, readdir, readFile, readlink, stat } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Journal, makeJournal } from '../../src/journal/journal.js'
import { journalStart, type Place, type PlacedRecord } from '../../src/journal/place.js'
import { headerSize } from '../../src/journal/segment.js'
import { blobOf, codeOf, temporaryDirectory } from '../engine/fixture.js'
import {
  type Content,
  contentOf,
  contentsIn,
  contentsOf,
  makeSmall,
  openAt,
  textOf,
} from './fixture.js'

const append = async (journal: Journal, { blobs, changes }: Content) => {
  return journal.append(blobs, changes)
}

function placesOf(records: readonly PlacedRecord[]): Place[] {
  return records.flatMap(({ blobs }) => blobs.map(([, place]) => place))
}

const content: fc.Arbitrary<Content> = fc.record({
  blobs: fc.array(fc.uint8Array({ maxLength: 120 }).map(blobOf), { maxLength: 5 }),
  changes: fc.array(
    fc.record({
      table: fc.integer({ min: 0, max: 255 }),
      key: fc.uint8Array({ maxLength: 12 }),
      value: fc.option(fc.uint8Array({ maxLength: 40 }), { nil: undefined }),
    }),
    { maxLength: 3 },
  ),
})

test('whatever is appended is replayed from any earlier point, and stays where it was', async () => {
  const act = fc.oneof(
    { weight: 5, arbitrary: content.map((appended) => ({ act: 'append', appended }) as const) },
    { weight: 2, arbitrary: fc.nat(99).map((from) => ({ act: 'reopen', from }) as const) },
    { weight: 1, arbitrary: fc.constant({ act: 'roll' } as const) },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 14 }), async (acts) => {
      await using directory = await temporaryDirectory()
      const segmentSize = 500
      let journal = await makeSmall(directory.path, segmentSize)
      const contents: string[] = []
      const placed: PlacedRecord[] = []
      const ends = [journalStart]
      for (const step of acts) {
        if (step.act === 'append') {
          placed.push(await append(journal, step.appended))
          contents.push(textOf(step.appended))
          ends.push(journal.end)
        } else if (step.act === 'roll') {
          await journal.roll()
        } else {
          const known = step.from % ends.length
          const from = ends[known] ?? journalStart
          // A segment without a record is begun anew, unless the caller has seen it.
          const isBegun = journal.end.offset === headerSize && journal.end.segment > from.segment
          const end = isBegun ? ends.at(-1) : journal.end
          await journal.close()
          const again = await openAt(directory.path, { from, segmentSize })
          journal = again.journal
          expect(journal.end).toEqual(end)
          expect(again.records.map((record) => record.end)).toEqual(ends.slice(known + 1))
          const seen = await contentsOf(journal, again.records)
          expect(seen.map(textOf)).toEqual(contents.slice(known))
        }
      }
      expect((await contentsOf(journal, placed)).map(textOf)).toEqual(contents)
      expect(await journal.segments()).toEqual(
        Array.from({ length: journal.end.segment }, (_, index) => index + 1),
      )
      await journal.close()
    }),
    { numRuns: 20 },
  )
})

test('the records of a segment are listed in parts that miss none and repeat none', async () => {
  await using directory = await temporaryDirectory()
  const journal = await makeSmall(directory.path)
  const written: string[] = []
  for (let index = 0; index < 12; index++) {
    const blobs = Array.from({ length: index % 4 }, (_, n) => blobOf(`${index}/${n} `.repeat(9)))
    for (const { ref } of (await journal.append(blobs, contentOf(`${index}`).changes)) && blobs)
      written.push(ref)
  }
  for (const bounds of [
    { blobs: 1, size: 1_000_000 },
    { blobs: 5, size: 1_000_000 },
    { blobs: 1_000, size: 1 },
    { blobs: 1_000, size: 100 },
    { blobs: 1_000, size: 1_000_000 },
  ]) {
    const listed: string[] = []
    let parts = 0
    for (let after: number | undefined = 0; after !== undefined; parts++) {
      const part = await journal.records(1, { ...bounds, after })
      if (!part) throw new Error('the segment is there')
      for (const { blobs } of part.records) listed.push(...blobs.map(({ ref }) => ref))
      after = part.next
    }
    expect(listed).toEqual(written)
    expect(parts > 1).toBe(bounds.blobs < 1_000 || bounds.size < 1_000)
  }
  expect(await journal.records(2, { after: 0, blobs: 1, size: 1 })).toBe(undefined)
  await journal.close()
})

test('one record takes more pieces than one system call, empty ones among them', async () => {
  await using directory = await temporaryDirectory()
  const journal = await makeSmall(directory.path)
  const blobs = Array.from({ length: 2_600 }, (_, n) => blobOf(n % 5 === 0 ? '' : `blob ${n}`))
  const record = await journal.append(blobs, [])
  const [read] = await contentsOf(journal, [record])
  expect(read && textOf(read)).toBe(textOf({ blobs, changes: [] }))
  await journal.append([blobOf('behind')], [])
  await journal.close()
  const [first, second] = await contentsIn(directory.path)
  expect(first && textOf(first)).toBe(textOf({ blobs, changes: [] }))
  expect(second?.blobs[0]?.ref).toBe(blobOf('behind').ref)
})

test('a blob of no bytes at the very end of the file is read as no bytes', async () => {
  await using directory = await temporaryDirectory()
  const journal = await makeSmall(directory.path)
  const record = await journal.append([blobOf('x'), blobOf('')], [])
  expect(await journal.read(placesOf([record]))).toEqual(
    [Buffer.from('x'), Buffer.of()].map((bytes) => new Uint8Array(bytes)),
  )
  expect(await journal.read(placesOf([record]).slice(1))).toEqual([Buffer.of()])
  await journal.close()
})

test('a head above 1 MiB is written and read again', async () => {
  await using directory = await temporaryDirectory()
  const journal = await makeSmall(directory.path)
  const value = Buffer.alloc(1_500_000, 'value ')
  const record = { blobs: [blobOf('blob')], changes: [{ table: 2, key: Buffer.from('k'), value }] }
  await append(journal, record)
  await append(journal, contentOf('behind'))
  await journal.close()
  const read = await contentsIn(directory.path)
  expect(read.map(textOf)).toEqual([record, contentOf('behind')].map(textOf))
})

test('blobs that are read together come each in a buffer of its own, wherever they lie', async () => {
  await using directory = await temporaryDirectory()
  const journal = await makeSmall(directory.path, 3_000_000)
  const small = Array.from({ length: 40 }, (_, n) => blobOf(`small ${n} `.repeat(n)))
  const large = [1, 2, 3].map((n) => blobOf(Buffer.alloc(900_000 + n, `large ${n} `)))
  const whole = blobOf(Buffer.alloc(1_048_576, 'whole '))
  const records = [
    await journal.append([...small, ...large], []),
    await journal.append([whole], []), // the next one is in another segment
    await journal.append(small.slice(0, 5), []),
  ]
  const blobs = [...small, ...large, whole, ...small.slice(0, 5)]
  const places = placesOf(records)
  expect(new Set(places.map(({ segment }) => segment)).size).toBe(2)
  // In an order of their own, one of them twice, and one that is not there.
  const order = blobs.map((_, index) => (index * 31) % blobs.length)
  const asked = [...order.map((index) => places[index]), places[3], undefined]
  const read = await journal.read(asked)
  const expected = [...order.map((index) => blobs[index]), blobs[3]]
  expect(read.map((bytes) => bytes && blobOf(bytes).ref)).toEqual([
    ...expected.map((blob) => blob?.ref),
    undefined,
  ])
  const there = read.filter((bytes) => bytes !== undefined)
  expect(new Set(there.map(({ buffer }) => buffer)).size).toBe(there.length)
  expect(there.filter(({ buffer, length }) => buffer.byteLength !== length)).toEqual([])
  await journal.close()
})

test('a removed segment gives nothing, and a read under way has what was there', async () => {
  await using directory = await temporaryDirectory()
  const journal = await makeSmall(directory.path, 100)
  const blobs = [blobOf('a'.repeat(500_000)), blobOf('b'.repeat(500_000))]
  const records = []
  for (const blob of blobs) records.push(await journal.append([blob], []))
  await journal.append([blobOf('c')], [])
  for (const [index, record] of records.entries()) {
    const place = placesOf([record])
    const reading = Array.from({ length: 20 }, () => journal.read(place))
    await journal.remove(record.end.segment, { overwrite: index === 1 })
    for (const [bytes] of await Promise.all(reading)) {
      expect(bytes && blobOf(bytes).ref).toBe(blobs[index]?.ref)
    }
    expect(await journal.read(place)).toEqual([undefined])
    expect(await journal.sizeOf(record.end.segment)).toBe(undefined)
  }
  expect(await journal.segments()).toEqual([3])
  await journal.remove(1, { overwrite: false }) // once more: it is gone already
  await journal.close()
})

test('a removed segment is zeros where it was to be written over', async () => {
  await using directory = await temporaryDirectory()
  const journal = await makeSmall(directory.path, 100)
  const secret = blobOf('secret '.repeat(300_000))
  await journal.append([secret], [])
  await journal.append([secret], [])
  await journal.append([blobOf('end')], [])
  for (const overwrite of [true, false]) {
    const segment = overwrite ? 1 : 2
    const path = join(directory.path, (await readdir(directory.path)).sort()[0] ?? '')
    const held = await open(path, constants.O_RDONLY)
    const { size } = await held.stat()
    await journal.remove(segment, { overwrite })
    const left = await held.readFile()
    await held.close()
    expect(left.length).toBe(size)
    expect(left.every((byte) => byte === 0)).toBe(overwrite)
    expect(await codeOf(stat(path))).toBe('ENOENT')
  }
  await journal.close()
})

test('a range that was given back takes no space, and the records around it are listed', async () => {
  await using directory = await temporaryDirectory()
  const journal = await makeSmall(directory.path)
  const blobs = [blobOf('before'), blobOf('x'.repeat(900_000)), blobOf('behind')]
  const record = await journal.append(blobs, contentOf('c').changes)
  await journal.append([blobOf('later')], [])
  const places = placesOf([record])
  const [, hole] = places
  const before = await journal.sizeOf(1)
  expect(await journal.punch(1, hole ? [hole] : [])).toBe(true)
  const after = await journal.sizeOf(1)
  expect(after?.file).toBe(before?.file)
  expect((before?.taken ?? 0) - (after?.taken ?? 0)).toBeGreaterThan(800_000)
  const [first, middle, last] = await journal.read(places)
  expect([first, last].map((bytes) => bytes && blobOf(bytes).ref)).toEqual(
    [blobs[0], blobs[2]].map((blob) => blob?.ref),
  )
  expect(middle?.every((byte) => byte === 0)).toBe(true)
  await journal.close()
  // A blob that is gone does not make its record torn.
  expect((await contentsIn(directory.path)).length).toBe(2)
})

test('open files stay bounded, whether segments are read in turn or at once', async () => {
  await using directory = await temporaryDirectory()
  const journal = await makeSmall(directory.path, headerSize + 1)
  const places: Place[] = []
  for (let n = 0; n < 200; n++) {
    places.push(...placesOf([await journal.append([blobOf(`blob ${n}`)], [])]))
  }
  const isRight = async (place: Place, n: number) => {
    const [bytes] = await journal.read([place])
    return bytes && Buffer.from(bytes).toString() === `blob ${n}`
  }
  for (const [n, place] of places.entries()) expect(await isRight(place, n)).toBe(true)
  expect(await openFilesIn(directory.path)).toBeLessThanOrEqual(128 + 1)
  const right = await Promise.all(places.map(isRight))
  expect(right.every((is) => is)).toBe(true)
  await expect.poll(() => openFilesIn(directory.path)).toBeLessThanOrEqual(128 + 1)
  expect(await isRight(places[0] ?? { segment: 0, offset: 0, length: 0 }, 0)).toBe(true)
  await journal.close()
  await expect.poll(() => openFilesIn(directory.path)).toBe(0)
})

test('a journal is made once, over what a crash left of its making, never over records', async () => {
  await using directory = await temporaryDirectory()
  const path = join(directory.path, 'journal')
  const first = join(path, 'segment-000000000001')
  await makeJournal(path)
  expect((await readFile(first)).length).toBe(headerSize)
  for (let size = 0; size < headerSize; size += 9) {
    const file = await open(first, 'r+')
    await file.truncate(size)
    await file.close()
    await makeJournal(path)
    expect((await readFile(first)).length).toBe(headerSize)
    expect(await contentsIn(path)).toEqual([])
  }
  const journal = (await openAt(path, { segmentSize: 100 })).journal
  await append(journal, contentOf('a'))
  expect(await codeOf(makeJournal(path))).toBe('ECORRUPT')
  await append(journal, contentOf('b'))
  await append(journal, contentOf('c'))
  expect(await codeOf(makeJournal(path))).toBe('ECORRUPT')
  for (const segment of [1, 2]) {
    await journal.remove(segment, { overwrite: false })
    expect(await codeOf(makeJournal(path))).toBe('ECORRUPT')
  }
  expect(await journal.segments()).toEqual([3])
  await journal.close()
})

/** The number of files below a directory that this process has open. */
async function openFilesIn(directory: string): Promise<number> {
  const names = await readdir('/proc/self/fd')
  const paths = await Promise.all(
    names.map((name) => readlink(`/proc/self/fd/${name}`).catch(() => '')),
  )
  return paths.filter((path) => path.startsWith(directory)).length
}
