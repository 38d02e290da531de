/** What journal tests are made of: records, a journal that tells what it replayed, and copies of its
 *  directory as they stand on the disk. */

import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Blob } from '../../src/blob/blob.js'
import { Journal, makeJournal } from '../../src/journal/journal.js'
import { journalStart, type PlacedRecord, type Point } from '../../src/journal/place.js'
import type { Change } from '../../src/journal/record.js'
import { segmentName } from '../../src/journal/segment.js'
import { blobOf } from '../engine/fixture.js'

/** The content of a record. */
export type Content = { readonly blobs: readonly Blob[]; readonly changes: readonly Change[] }

/** A record with one blob and one change, both named after `name`. */
export function contentOf(name: string, size = 20): Content {
  const key = Buffer.from(`key of ${name}`)
  const blob = blobOf(`${name} `.repeat(size).slice(0, size))
  return { blobs: [blob], changes: [{ table: 1, key, value: Buffer.from(name) }] }
}

/** Makes an empty journal with small segments. */
export async function makeSmall(directory: string, segmentSize?: number): Promise<Journal> {
  await makeJournal(directory)
  return (await openAt(directory, { segmentSize })).journal
}

type OpenAt = { readonly from?: Point; readonly segmentSize?: number | undefined }

/** Opens a journal, with the records that it told. */
export async function openAt(
  directory: string,
  { from = journalStart, segmentSize }: OpenAt = {},
): Promise<{ readonly journal: Journal; readonly records: readonly PlacedRecord[] }> {
  const records: PlacedRecord[] = []
  const journal = await Journal.open(directory, {
    from,
    onRecord: (record) => records.push(record),
    ...(segmentSize === undefined ? {} : { segmentSize }),
  })
  return { journal, records }
}

/** Opens a journal, reads all its blobs, and closes it. */
export async function contentsIn(directory: string, options?: OpenAt): Promise<Content[]> {
  const { journal, records } = await openAt(directory, options)
  try {
    return await contentsOf(journal, records)
  } finally {
    await journal.close()
  }
}

/** Reads the blobs of records back. */
export async function contentsOf(
  journal: Journal,
  records: readonly PlacedRecord[],
): Promise<Content[]> {
  return Promise.all(
    records.map(async ({ blobs, changes }) => {
      const bytes = await journal.read(blobs.map(([, place]) => place))
      return {
        blobs: blobs.map(([ref], index) => ({ ref, bytes: bytes[index] ?? Buffer.of() })),
        changes,
      }
    }),
  )
}

/** A content as text, so that differences are shown in a short way, and Buffers equal Uint8Arrays. */
export function textOf({ blobs, changes }: Content): string {
  const hex = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString('hex')
  return JSON.stringify([
    blobs.map(({ ref, bytes }) => [ref, hex(bytes)]),
    changes.map(({ table, key, value }) => [table, hex(key), hex(value) ?? null]),
  ])
}

/** The bytes of all files of a directory. */
export async function filesIn(directory: string): Promise<Map<string, Buffer>> {
  const names = (await readdir(directory)).sort()
  return new Map(
    await Promise.all(
      names.map(async (name) => [name, await readFile(join(directory, name))] as const),
    ),
  )
}

/** The path of a segment. */
export function pathOf(directory: string, id: number): string {
  return join(directory, segmentName(id))
}

/** Changes the bytes of a file. */
export async function edit(path: string, change: (bytes: Buffer) => Buffer): Promise<void> {
  await writeFile(path, change(await readFile(path)))
}

/** Flips one bit. */
export function flipped(bytes: Buffer, bit: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7))
  return copy
}
