/** Whether LMDB can be let near a directory: it ends the process where it should throw. See rfc/4.
 *  Invariant: only a file that held nothing is touched. */

import { type FileHandle, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { TailraceError } from '../error.js'
import { probe } from './disk.js'

/** LMDB's own: the first meta page begins after a page header. */
const magic = 0xbeefc0de
const magicOffset = 24
/** Of a page and of what a disk writes whole. Both meta pages and another are written before the first
 *  sync: a file that is no longer, and lacks the head of one, was being made when the power went. */
const pageSize = 4_096
const firstSize = 3 * pageSize
const sectorSize = 512
export const dataFile = 'data.mdb'
const lockFile = 'lock.mdb'

/** What would make the library end the process instead of throwing: no space for the lock file, which
 *  it writes through a map, and a file that it may not open or does not know. Throws ECORRUPT, and
 *  what node:fs does. */
export async function assertOpenable(directory: string): Promise<void> {
  await probe(directory, 0)
  const names = new Set(await readdir(directory))
  if (names.has(lockFile)) await (await open(join(directory, lockFile), 'r+')).close()
  if (!names.has(dataFile)) return
  const file = await open(join(directory, dataFile), 'r+')
  try {
    const { size } = await file.stat()
    const heads = [await pageHead(file, 0), await pageHead(file, pageSize)]
    const unfinished = heads.some(isEmpty) && heads.every((head) => isEmpty(head) || isMeta(head))
    if (unfinished && size <= firstSize) return await file.truncate()
    if (heads[0] && isMeta(heads[0])) return
    const message = `${directory}/${dataFile} is no store: restore a copy, or use another directory`
    throw new TailraceError('ECORRUPT', message)
  } finally {
    await file.close()
  }
}

/** The first sector of a page; zeros where there is none. */
async function pageHead(file: FileHandle, page: number): Promise<Buffer> {
  const head = Buffer.alloc(sectorSize)
  await file.read(head, 0, sectorSize, page)
  return head
}

function isEmpty(head: Buffer): boolean {
  return head.every((byte) => byte === 0)
}

function isMeta(head: Buffer): boolean {
  return head.readUInt32LE(magicOffset) === magic
}
