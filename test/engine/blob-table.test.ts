/** Loads beside a collection: the place of a blob changes, and its old one is written over, after a load has
 *  looked for it and before it reads. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { BlobTable } from '../../src/engine/blob-table.js'
import { openTables } from '../../src/engine/lmdb.js'
import { RefIndex } from '../../src/engine/ref-index.js'
import { SegmentTable } from '../../src/engine/segment-table.js'
import { Journal, makeJournal } from '../../src/journal/journal.js'
import { journalStart } from '../../src/journal/place.js'
import { segmentName } from '../../src/journal/segment.js'
import { blobOf, temporaryDirectory } from './fixture.js'

async function makeTable(path: string) {
  await makeJournal(path)
  const journal = await Journal.open(path, { from: journalStart, onRecord: () => {} })
  const tables = await openTables(path)
  const table = new BlobTable(
    journal,
    new RefIndex(tables.index),
    new SegmentTable(tables.segments),
  )
  const append = async (content: string) => {
    const blob = blobOf(content)
    const record = await journal.append([blob], [])
    return { blob, take: () => table.take(record, []) }
  }
  const close = async () => {
    await journal.close()
    await tables.close()
  }
  return { journal, table, append, [Symbol.asyncDispose]: close }
}

test('a load never gives what is written over a blob that moved meanwhile', async () => {
  await using directory = await temporaryDirectory()
  await using made = await makeTable(directory.path)
  const { blob, take } = await made.append('a blob that moves')
  await take()
  await made.journal.roll()
  const moved = await made.append('a blob that moves')
  const loading = made.table.load([blob.ref])
  await moved.take()
  writeFileSync(join(directory.path, segmentName(1)), Buffer.alloc(1_000))
  expect(await loading).toEqual([Buffer.from(blob.bytes)])
})

test('a load never gives what is written over a blob that was dropped meanwhile', async () => {
  await using directory = await temporaryDirectory()
  await using made = await makeTable(directory.path)
  const { blob, take } = await made.append('a blob that goes')
  const other = await made.append('a blob that stays')
  await take()
  await other.take()
  const loading = made.table.load([blob.ref, other.blob.ref])
  made.table.drop(blob.ref)
  const { offset, length } = { offset: 0, length: 0, ...made.table.place(other.blob.ref) }
  expect(length).toBeGreaterThan(0)
  const zeros = Buffer.alloc(offset)
  writeFileSync(join(directory.path, segmentName(1)), zeros, { flag: 'r+' })
  expect(await loading).toEqual([undefined, Buffer.from(other.blob.bytes)])
})
