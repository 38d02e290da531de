/** The power fails while a journal begins a new segment. See rfc/21. */

import { readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Journal, makeJournal, NotAppended } from '../../src/journal/journal.js'
import { journalStart } from '../../src/journal/place.js'
import { markSize } from '../../src/journal/record.js'
import { encodeHeader, headerSize, segmentName } from '../../src/journal/segment.js'
import { blobOf, temporaryDirectory } from '../engine/fixture.js'
import { smallDisk } from '../small-disk.js'

async function openJournal(path: string) {
  const numbers: number[] = []
  const onRecord = ({ end }: { readonly end: { readonly number: number } }) => {
    numbers.push(end.number)
  }
  return { journal: await Journal.open(path, { from: journalStart, onRecord }), numbers }
}

test.each([
  ['no byte', Buffer.alloc(0)],
  ['a part of a header', Buffer.from('TLRJRNL1')],
  ['zeros', Buffer.alloc(headerSize)],
  // The sync of its name may have failed: no later one makes that sure.
  ['no record', encodeHeader({ id: 2, first: 2, mark: Buffer.alloc(markSize) })],
])('a segment that has %s was being made: it is begun anew', async (_, bytes) => {
  await using directory = await temporaryDirectory()
  await makeJournal(directory.path)
  const first = await openJournal(directory.path)
  await first.journal.append([blobOf('one')], [])
  await first.journal.close()
  await writeFile(join(directory.path, segmentName(2)), bytes)

  const second = await openJournal(directory.path)
  expect(second.numbers).toEqual([1])
  expect(await readdir(directory.path)).toEqual([segmentName(1)])
  await second.journal.roll()
  await second.journal.append([blobOf('two')], [])
  await second.journal.close()

  const third = await openJournal(directory.path)
  expect(third.numbers).toEqual([1, 2])
  await third.journal.close()
})

test('a segment with records whose header is lost is damage, and stays as it is', async () => {
  await using directory = await temporaryDirectory()
  await makeJournal(directory.path)
  const { journal } = await openJournal(directory.path)
  await journal.append([blobOf('one')], [])
  await journal.roll()
  await journal.close()
  const path = join(directory.path, segmentName(2))
  await writeFile(path, Buffer.alloc(headerSize + 1))
  await expect(openJournal(directory.path)).rejects.toMatchObject({ code: 'ECORRUPT' })
  await truncate(path, headerSize)
  const again = await openJournal(directory.path)
  expect(again.numbers).toEqual([1])
  await again.journal.close()
})

test('a segment for which the disk has no room leaves no file, and the open one goes on', async (context) => {
  await using disk = await smallDisk(256 * 1024, context)
  const path = join(disk.directory, 'journal')
  await makeJournal(path)
  const first = await openJournal(path)
  await first.journal.append([blobOf('one')], [])
  const ballast = join(disk.directory, 'ballast')
  await writeFile(ballast, Buffer.alloc(1024 * 1024)).catch(() => {})
  await expect(first.journal.roll()).rejects.toBeInstanceOf(NotAppended)
  expect(await readdir(path)).toEqual([segmentName(1)])
  await first.journal.append([blobOf('two')], []) // there is room in its last block
  await rm(ballast)
  await first.journal.roll()
  await first.journal.append([blobOf('three')], [])
  await first.journal.close()
  const again = await openJournal(path)
  expect(again.numbers).toEqual([1, 2, 3])
  await again.journal.close()
})
