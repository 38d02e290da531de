/** Damages a store that nobody has open: bytes of its segments, entries of its index. */

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { open } from 'lmdb'
import type { Blobref } from '../../src/blob/blobref.js'
import { encodePlace, indexKey, parsePlace } from '../../src/engine/record.js'
import type { Place } from '../../src/journal/place.js'
import { segmentName } from '../../src/journal/segment.js'
import { segmentPaths } from '../support/store-files.js'

/** Flips a bit in the middle of every copy of these bytes in the journal. */
export async function flip(directory: string, bytes: Uint8Array): Promise<void> {
  let count = 0
  for (const path of await segmentPaths(join(directory, 'store'))) {
    const content = await readFile(path)
    for (let at = content.indexOf(bytes); at >= 0; at = content.indexOf(bytes, at + 1)) {
      const middle = at + (bytes.length >> 1)
      content[middle] = (content[middle] ?? 0) ^ 1
      count++
    }
    await writeFile(path, content)
  }
  if (count === 0) throw new Error('the bytes are not in the journal')
}

/** Flips a bit of a file. */
export async function flipAt(path: string, at: number, bit = 0): Promise<void> {
  const bytes = await readFile(path)
  bytes[at] = (bytes[at] ?? 0) ^ (1 << bit)
  await writeFile(path, bytes)
}

/** The bytes of the blob are zeros, as a hole is read. */
export async function zero(directory: string, ref: Blobref): Promise<void> {
  const { segment, offset, length } = await placeOf(directory, ref)
  const path = join(directory, 'store', 'journal', segmentName(segment))
  const content = await readFile(path)
  await writeFile(path, content.fill(0, offset, offset + length))
}

/** Overwrites a region of the file of the tables with what is no page. */
export async function scribble(directory: string, from: number, to: number): Promise<void> {
  const path = join(directory, 'store', 'data.mdb')
  const content = await readFile(path)
  content.fill(0xa5, Math.floor(from * content.length), Math.floor(to * content.length))
  await writeFile(path, content)
}

/** Nobody knows where the blob is. */
export async function dropIndex(directory: string, ref: Blobref): Promise<void> {
  await withIndex(directory, (index) => index.removeSync(indexKey(ref)))
}

/** The index leads to another place. */
export async function misplace(
  directory: string,
  ref: Blobref,
  change: (place: Place) => Place,
): Promise<void> {
  await withIndex(directory, (index) => {
    const place = parsePlace(index.get(indexKey(ref)))
    index.putSync(indexKey(ref), encodePlace(change(place)))
  })
}

/** Returns the place of a blob. */
export async function placeOf(directory: string, ref: Blobref): Promise<Place> {
  return withIndex(directory, (index) => parsePlace(index.get(indexKey(ref))))
}

type Table = {
  get(key: Uint8Array): Buffer
  putSync(key: Uint8Array, value: Uint8Array): unknown
  removeSync(key: Uint8Array): unknown
}

async function withIndex<T>(directory: string, act: (index: Table) => T): Promise<T> {
  const binary = { encoding: 'binary', keyEncoding: 'binary' } as const
  const root = open({ path: join(directory, 'store'), noSubdir: false, ...binary })
  try {
    return act(root.openDB({ name: 'index', ...binary }) as unknown as Table)
  } finally {
    await root.close()
  }
}
