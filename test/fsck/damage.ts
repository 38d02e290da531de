/** Damages an LMDB store that nobody has open: bytes of its file, records and index entries of its tables. */

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { open } from 'lmdb'
import type { Blobref } from '../../src/blob/blobref.js'
import { bareKey, indexKey, packKey, parsePlace } from '../../src/engine/record.js'

/** Flips a bit in the middle of every copy of these bytes in the file. */
export async function flip(directory: string, bytes: Uint8Array): Promise<void> {
  const file = dataFile(directory)
  const content = await readFile(file)
  let count = 0
  for (let at = content.indexOf(bytes); at >= 0; at = content.indexOf(bytes, at + 1)) {
    const middle = at + (bytes.length >> 1)
    content[middle] = (content[middle] ?? 0) ^ 1
    count++
  }
  if (count === 0) throw new Error('the bytes are not in the file')
  await writeFile(file, content)
}

/** Overwrites a region of the file with what is no page. */
export async function scribble(directory: string, from: number, to: number): Promise<void> {
  const file = dataFile(directory)
  const content = await readFile(file)
  content.fill(0xa5, Math.floor(from * content.length), Math.floor(to * content.length))
  await writeFile(file, content)
}

/** The blob's record, or the one that it is packed in, is gone; the index still names it. */
export async function dropRecord(directory: string, ref: Blobref): Promise<void> {
  await change(directory, (tables) => {
    const { record, offset } = parsePlace(tables.index.get(indexKey(ref)))
    tables.blobs.removeSync(offset === 0 ? bareKey(record, ref) : packKey(record))
  })
}

/** Nobody knows where the blob is. */
export async function dropIndex(directory: string, ref: Blobref): Promise<void> {
  await change(directory, (tables) => tables.index.removeSync(indexKey(ref)))
}

/** The index leads beyond the end of the record. */
export async function misplace(directory: string, ref: Blobref): Promise<void> {
  await change(directory, (tables) => {
    const place = tables.index.get(indexKey(ref))
    place.writeUInt32BE(0x7fffffff, 8)
    tables.index.putSync(indexKey(ref), place)
  })
}

type Table = {
  get(key: Uint8Array): Buffer
  putSync(key: Uint8Array, value: Uint8Array): unknown
  removeSync(key: Uint8Array): unknown
}

async function change(
  directory: string,
  act: (tables: { readonly blobs: Table; readonly index: Table }) => void,
): Promise<void> {
  const binary = { encoding: 'binary', keyEncoding: 'binary' } as const
  const root = open({ path: join(directory, 'store'), noSubdir: false, ...binary })
  const table = (name: string) => root.openDB({ name, ...binary }) as unknown as Table
  act({ blobs: table('blobs'), index: table('index') })
  await root.close()
}

function dataFile(directory: string): string {
  return join(directory, 'store', 'data.mdb')
}
