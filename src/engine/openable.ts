/** Whether LMDB can be let near a directory: it ends the process where it should throw. See rfc/4.
 *  Invariant: only a file that held nothing is touched. */

import { type FileHandle, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { TailraceError } from '../error.js'
import { probe } from './disk.js'
import { hasAllPages, isMeta, newestMeta } from './lmdb-file.js'

/** Of a page and of what a disk writes whole. Both meta pages and another are written before the
 *  first sync: a file that is no longer, and lacks the head of one, was being made when the power
 *  went. */
const pageSize = 4_096
const firstSize = 3 * pageSize
const sectorSize = 512
export const dataFile = 'data.mdb'
const lockFile = 'lock.mdb'
/** Bytes that must be free for it: more than it has, since a file system may write it to another
 *  place. */
const lockSize = 256 * 1024

/** Whether an open would find a store, and not make one. */
export async function hasStore(directory: string): Promise<boolean> {
  const names = await readdir(directory).catch((): string[] => [])
  return names.includes(dataFile)
}

/** What would make the library end the process instead of throwing: no space for the lock file,
 *  which it writes through a map, and a file that it may not open, does not know, or that was cut.
 *  `existing`: a file that was never finished is an error, too. REQUIRES: nobody else has it open.
 *  Throws ECORRUPT, and what node:fs does. */
export async function assertOpenable(
  directory: string,
  options: { readonly existing: boolean },
): Promise<void> {
  await probe(directory, lockSize, 0)
  const names = new Set(await readdir(directory))
  if (names.has(lockFile)) await (await open(join(directory, lockFile), 'r+')).close()
  const path = join(directory, dataFile)
  if (!names.has(dataFile)) {
    if (options.existing) throw damaged(path, 'is missing')
    return
  }
  const file = await open(path, 'r+')
  try {
    const { size } = await file.stat()
    const heads = [await pageHead(file, 0), await pageHead(file, pageSize)]
    const unfinished = heads.some(isEmpty) && heads.every((head) => isEmpty(head) || isMeta(head))
    if (unfinished && size <= firstSize) {
      if (options.existing) throw damaged(path, `has lost what it held (${size} bytes are left)`)
      return await file.truncate()
    }
    if (!heads[0] || !isMeta(heads[0])) throw damaged(path, 'is no store')
    const newest = newestMeta(heads)
    if (!newest || newest.pageSize !== pageSize) return
    if (await hasAllPages(file, newest)) return
    const whole = (newest.lastPage + 1n) * BigInt(pageSize)
    throw damaged(path, `was cut: it has ${size} bytes of ${whole}`)
  } finally {
    await file.close()
  }
}

function damaged(path: string, how: string): TailraceError {
  return new TailraceError('ECORRUPT', `${path} ${how}: restore a copy, or use another directory`)
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
