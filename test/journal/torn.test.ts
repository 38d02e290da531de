/** What an open finds after a crash or damage (rfc/21, rules 8 and 9): a torn tail is cut off, and
 *  damage before it is ECORRUPT, with the path, and changes no file. */

import { createHash } from 'node:crypto'
import { mkdir, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { PlacedRecord } from '../../src/journal/place.js'
import { headerSize } from '../../src/journal/segment.js'
import { blobOf, temporaryDirectory } from '../engine/fixture.js'
import {
  type Content,
  contentOf,
  contentsIn,
  edit,
  filesIn,
  flipped,
  makeSmall,
  openAt,
  pathOf,
  textOf,
} from './fixture.js'

/** A journal of these records, as it stands on the disk once it is closed. */
async function journalOf(contents: readonly Content[], segmentSize?: number) {
  await using directory = await temporaryDirectory()
  const journal = await makeSmall(directory.path, segmentSize)
  const records: PlacedRecord[] = []
  for (const { blobs, changes } of contents) records.push(await journal.append(blobs, changes))
  await journal.close()
  return { files: await filesIn(directory.path), records }
}

/** Writes the files of a journal into a directory of their own. */
async function lay(path: string, files: ReadonlyMap<string, Buffer>): Promise<string> {
  await mkdir(path)
  for (const [name, bytes] of files) await writeFile(join(path, name), bytes)
  return path
}

/** The message of the ECORRUPT that an open throws. */
async function damageOf(path: string, segmentSize?: number): Promise<string> {
  const before = await sumsIn(path)
  const opened = openAt(path, { segmentSize })
  const error = await opened.then(
    () => new Error('it opened'),
    (thrown: unknown) => thrown,
  )
  expect(error).toMatchObject({ code: 'ECORRUPT' })
  expect(await sumsIn(path)).toEqual(before)
  return error instanceof Error ? error.message : ''
}

/** The digest of each file of a directory. */
async function sumsIn(path: string): Promise<string[]> {
  return [...(await filesIn(path))].map(
    ([name, bytes]) => `${name} ${bytes.length} ${sumOf(bytes)}`,
  )
}

function sumOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

const next = contentOf('next')

/** Opens a journal, looks that it has these records and no others, appends one, and opens it again. */
async function goesOn(path: string, contents: readonly Content[]): Promise<void> {
  const { journal, records } = await openAt(path)
  const last = records.at(-1)
  const { segment, offset } = journal.end
  expect((await stat(pathOf(path, segment))).size).toBe(offset) // nothing is left of what was torn
  const written = await journal.append(next.blobs, next.changes)
  expect(written.end.number).toBe((last?.end.number ?? 0) + 1)
  await journal.close()
  const found = await contentsIn(path)
  expect(found.map(textOf)).toEqual([...contents, next].map(textOf))
}

/** Bytes without a zero, so that zeros in their place are another content. */
const tail = { blobs: [blobOf('x'), blobOf('yz')], changes: contentOf('c').changes }
const before = [contentOf('first'), contentOf('second')]

test.each([
  ['cut off', (whole: Buffer, from: number) => whole.subarray(0, from)],
  ['zeros', (whole: Buffer, from: number) => Buffer.from(whole).fill(0, from)],
  [
    'garbage',
    (whole: Buffer, from: number) =>
      Buffer.from(whole.map((byte, at) => (at < from ? byte : byte ^ (0x5a + (at % 64))))),
  ],
  [
    'longer garbage, with records that were before',
    (whole: Buffer, from: number, start: number) =>
      Buffer.concat([whole.subarray(0, from), whole.subarray(0, start), Buffer.alloc(3, 1)]),
  ],
])(
  'where the rest of the last record is %s, it is cut, and the next one follows',
  async (_, tear) => {
    await using directory = await temporaryDirectory()
    const { files, records } = await journalOf([...before, tail])
    const [[name, whole] = ['', Buffer.of()]] = [...files]
    const start = records[1]?.end.offset ?? 0
    await Promise.all(
      Array.from({ length: whole.length - start }, async (_, kept) => {
        const torn = new Map([[name, tear(whole, start + kept, start)]])
        await goesOn(await lay(join(directory.path, `${kept}`), torn), before)
      }),
    )
  },
)

test('bytes behind the last record that are none are cut, and it stays', async () => {
  await using directory = await temporaryDirectory()
  const { files } = await journalOf([...before, tail])
  const [[name, whole] = ['', Buffer.of()]] = [...files]
  const zeros = Buffer.alloc(300_000)
  // The bytes of the journal itself: they have whole records, with numbers that were before.
  for (const behind of [zeros.subarray(0, 1), zeros, whole, Buffer.alloc(10_000, 'garbage')]) {
    const path = await lay(
      join(directory.path, `${behind.length}`),
      new Map([[name, Buffer.concat([whole, behind])]]),
    )
    await goesOn(path, [...before, tail])
  }
})

test('where a body of the last record has one other bit, the record is cut', async () => {
  await using directory = await temporaryDirectory()
  const { files } = await journalOf([...before, tail])
  const [[name, whole] = ['', Buffer.of()]] = [...files]
  for (let bit = (whole.length - 3) * 8; bit < whole.length * 8; bit += 3) {
    const path = await lay(join(directory.path, `${bit}`), new Map([[name, flipped(whole, bit)]]))
    await goesOn(path, before)
  }
})

test('a torn record is cut, although a value in it has the bytes of records', async () => {
  const other = await journalOf([contentOf('of another journal'), contentOf('more of it')])
  const [foreign = Buffer.of()] = other.files.values()
  const own = await journalOf(before)
  const [copied = Buffer.of()] = own.files.values()
  // Of the same journal, too: a store may have been saved into itself.
  await using directory = await temporaryDirectory()
  const path = await lay(join(directory.path, 'j'), own.files)
  const { journal } = await openAt(path)
  const blobs = [foreign, copied, blobOf('end').bytes].map(blobOf)
  const value = { blobs, changes: [{ table: 1, key: Buffer.from('k'), value: copied }] }
  await journal.append(value.blobs, value.changes)
  const end = journal.end.offset
  await journal.close()
  expect((await contentsIn(path)).map(textOf)).toEqual([...before, value].map(textOf))
  const whole = await filesIn(path)
  // Cut in the last blob, in the blobs with records, and in the head.
  const start = copied.length
  for (const cut of [end - 1, end - copied.length - 5, start + 300, start + 40, start + 4]) {
    const torn = await lay(join(directory.path, `${cut}`), whole)
    await truncate(pathOf(torn, 1), cut)
    await goesOn(torn, before)
  }
  // One bit of the head: what follows is still no record.
  const damaged = await lay(join(directory.path, 'damaged'), whole)
  await edit(pathOf(damaged, 1), (bytes) => flipped(bytes, (start + 50) * 8))
  await goesOn(damaged, before)
})

test('one other bit in a head with a whole record behind it is ECORRUPT', async () => {
  await using directory = await temporaryDirectory()
  const { files, records } = await journalOf([...before, tail])
  const [[name, whole] = ['', Buffer.of()]] = [...files]
  const starts = [headerSize, records[0]?.end.offset ?? 0]
  const path = await lay(join(directory.path, 'j'), files)
  for (const [index, start] of starts.entries()) {
    const bodyAt = records[index]?.blobs[0]?.[1].offset ?? 0
    for (let at = start; at < bodyAt; at += 1 + (at % 2)) {
      await writeFile(join(path, name), flipped(whole, at * 8 + (at % 8)))
      expect(await damageOf(path)).toBe(
        `${join(path, name)} is damaged (at byte ${start}): restore a copy`,
      )
    }
  }
  // Records up to `from` were read before: the journal opens, and has the others.
  const known = records[0]?.end
  await writeFile(join(path, name), flipped(whole, (headerSize + 20) * 8))
  const found = await contentsIn(path, known ? { from: known } : {})
  expect(found.map(textOf)).toEqual([before[1] ?? tail, tail].map(textOf))
})

test('damage is found, however far the whole record is behind it', async () => {
  await using directory = await temporaryDirectory()
  const far = { blobs: [blobOf(Buffer.alloc(700_000, 'far '))], changes: [] }
  const { files, records } = await journalOf([...before, far, far, tail])
  const path = await lay(join(directory.path, 'j'), files)
  const at = records[1]?.end.offset ?? 0
  // Both large records lose their marks: only the last one is whole.
  for (const end of [at, records[2]?.end.offset ?? 0]) {
    await edit(pathOf(path, 1), (bytes) => flipped(bytes, end * 8))
  }
  expect(await damageOf(path)).toContain(`at byte ${at}`)
})

/** A journal with a segment for each record. */
const each = [contentOf('one'), contentOf('two'), contentOf('three')]
const eachSize = headerSize + 1

test('a segment that is missing, cut, or without its header is ECORRUPT, with its path', async () => {
  await using directory = await temporaryDirectory()
  const { files } = await journalOf(each, eachSize)
  expect(files.size).toBe(3)
  let laid = 0
  const damageAfter = async (id: number, change: (path: string) => Promise<void>) => {
    const path = await lay(join(directory.path, `${++laid}`), files)
    await change(pathOf(path, id))
    expect(await damageOf(path, eachSize)).toContain(`${pathOf(path, id)} is`)
  }
  for (const id of [1, 2]) {
    await damageAfter(id, (path) => rm(path))
    const size = files.get(`segment-00000000000${id}`)?.length ?? 0
    for (let cut = 0; cut < size; cut += cut < headerSize ? 21 : 7) {
      await damageAfter(id, (path) => truncate(path, cut))
    }
    await damageAfter(id, (path) => edit(path, (bytes) => Buffer.concat([bytes, Buffer.of(0)])))
  }
  for (const id of [1, 2, 3]) {
    for (let bit = 5; bit < headerSize * 8; bit += 67) {
      await damageAfter(id, (path) => edit(path, (bytes) => flipped(bytes, bit)))
    }
    // The header of another segment.
    const other = files.get(`segment-00000000000${(id % 3) + 1}`) ?? Buffer.of()
    await damageAfter(id, (path) => writeFile(path, other))
  }
})

test('a journal that was cut below the point that is known is ECORRUPT', async () => {
  await using directory = await temporaryDirectory()
  const { files, records } = await journalOf(before)
  const from = records[1]?.end
  const path = await lay(join(directory.path, 'j'), files)
  await truncate(pathOf(path, 1), (from?.offset ?? 0) - 1)
  await expect(openAt(path, from ? { from } : {})).rejects.toMatchObject({
    code: 'ECORRUPT',
    message: expect.stringContaining(pathOf(path, 1)),
  })
  await rm(pathOf(path, 1))
  await expect(openAt(path, from ? { from } : {})).rejects.toThrow(pathOf(path, 1))
})

test('a segment that was being made when the power went is made again', async () => {
  await using directory = await temporaryDirectory()
  const { files } = await journalOf(each, eachSize)
  const { files: one } = await journalOf(each.slice(0, 2), eachSize)
  const whole = files.get('segment-000000000003')?.subarray(0, headerSize) ?? Buffer.of()
  // The mark of the third segment belongs to no record.
  const halves = [
    ...[0, 1, 7, 8, 23, 24, 47, 48, 63].map((size) => whole.subarray(0, size)),
    Buffer.alloc(headerSize),
    whole,
  ]
  for (const [index, half] of halves.entries()) {
    const path = await lay(join(directory.path, `${index}`), one)
    await writeFile(pathOf(path, 3), half)
    await goesOn(path, each.slice(0, 2))
  }
})

test('records of a segment that do not follow the ones before are ECORRUPT', async () => {
  await using directory = await temporaryDirectory()
  const { files } = await journalOf(each, eachSize)
  const other = await journalOf([contentOf('a'), contentOf('b')], 1_000)
  // Segment 2 of a journal whose first segment had two records.
  const longer = await temporaryDirectory()
  const path = await lay(join(longer.path, 'j'), other.files)
  const { journal } = await openAt(path, { segmentSize: headerSize + 1 })
  await journal.append(next.blobs, next.changes)
  await journal.close()
  const mixed = new Map(files)
  mixed.set(
    'segment-000000000002',
    (await filesIn(path)).get('segment-000000000002') ?? Buffer.of(),
  )
  const laid = await lay(join(directory.path, 'j'), mixed)
  expect(await damageOf(laid, eachSize)).toContain('does not follow the one before')
  await longer[Symbol.asyncDispose]()
})
