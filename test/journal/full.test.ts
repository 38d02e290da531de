/** The journal on a disk that is really full: see test/small-disk.ts. */

import { readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Journal, NotAppended } from '../../src/journal/journal.js'
import { blobOf } from '../engine/fixture.js'
import { smallDisk } from '../small-disk.js'
import {
  type Content,
  contentOf,
  contentsIn,
  makeSmall,
  openAt,
  pathOf,
  textOf,
} from './fixture.js'

const sized = (name: string, size: number): Content => ({
  blobs: [blobOf(Buffer.alloc(size, `${name} `))],
  changes: contentOf(name).changes,
})

/** The error of an append; undefined where it worked. */
async function errorOf(act: Promise<unknown>): Promise<unknown> {
  return act.then(
    () => undefined,
    (error: unknown) => error,
  )
}

async function isCut(journal: Journal, directory: string): Promise<void> {
  const { segment, offset } = journal.end
  expect((await stat(pathOf(directory, segment))).size).toBe(offset)
}

test('a record for which there is no space is cut off, and the next one that fits follows', async (context) => {
  await using disk = await smallDisk(4 * 1024 * 1024, context)
  const directory = join(disk.directory, 'journal')
  const ballast = join(disk.directory, 'ballast')
  await writeFile(ballast, Buffer.alloc(2 * 1024 * 1024))
  let { journal } = { journal: await makeSmall(directory) }
  const contents: Content[] = []
  for (let n = 0; ; n++) {
    const content = sized(`record ${n}`, 300_000)
    const error = await errorOf(journal.append(content.blobs, content.changes))
    if (error) {
      expect(error).toBeInstanceOf(NotAppended)
      expect(error).toMatchObject({ cause: { code: 'ENOSPC' } })
      break
    }
    contents.push(content)
  }
  expect(contents.length).toBeGreaterThan(3)
  await isCut(journal, directory)
  // A smaller one fits; then the store is closed and opened on the full disk.
  const small = sized('small', 10_000)
  await journal.append(small.blobs, small.changes)
  contents.push(small)
  await journal.close()
  journal = (await openAt(directory)).journal
  const large = sized('large', 1_000_000)
  expect(await errorOf(journal.append(large.blobs, large.changes))).toBeInstanceOf(NotAppended)
  await isCut(journal, directory)
  await rm(ballast)
  await journal.append(large.blobs, large.changes)
  contents.push(large)
  await journal.close()
  expect((await contentsIn(directory)).map(textOf)).toEqual(contents.map(textOf))
})

test('a segment that cannot be begun leaves nothing, and is begun once there is space', async (context) => {
  await using disk = await smallDisk(2 * 1024 * 1024, context)
  const directory = join(disk.directory, 'journal')
  const ballast = join(disk.directory, 'ballast')
  const journal = await makeSmall(directory, 1_000)
  const contents = [sized('first', 5_000), sized('second', 5_000), sized('third', 50)]
  const [first, second, third] = contents
  await journal.append(first?.blobs ?? [], first?.changes ?? [])
  await writeFile(ballast, Buffer.alloc(2 * 1024 * 1024)).catch(() => {})
  const { end } = journal
  for (const act of [() => journal.roll(), () => journal.append(second?.blobs ?? [], [])]) {
    const error = await errorOf(act())
    expect(error).toBeInstanceOf(NotAppended)
    expect(error).toMatchObject({ cause: { code: 'ENOSPC' } })
    expect(journal.end).toEqual(end)
    expect(await readdir(directory)).toEqual(['segment-000000000001'])
  }
  await rm(ballast)
  await journal.append(second?.blobs ?? [], second?.changes ?? [])
  await journal.append(third?.blobs ?? [], third?.changes ?? [])
  expect(journal.end).toMatchObject({ segment: 3, number: 3 })
  await journal.close()
  expect((await contentsIn(directory)).map(textOf)).toEqual(contents.map(textOf))
})
