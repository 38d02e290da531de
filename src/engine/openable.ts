/** Checks a directory before LMDB opens it, since LMDB ends the process where it should throw. See
 *  rfc/4, rule 23.
 *  Invariant: only a file that held nothing is changed. */

import { type FileHandle, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { TailraceError } from '../error.js'
import { probe } from './disk.js'
import { hasAllPages, isMeta, newestMeta } from './lmdb-file.js'

const pageSize = 4_096
/** The size, in bytes, of a store before its first sync: both meta pages and one more. A file that
 *  is no longer than this, and lacks the head of a meta page, was being made when the power
 *  went. */
const firstSize = 3 * pageSize
/** The number of bytes that a disk writes as a whole. */
const sectorSize = 512
/** The name of LMDB's data file. */
export const dataFile = 'data.mdb'
const lockFile = 'lock.mdb'
/** The bytes that must be free for the lock file: more than its size, since a file system may write
 *  it to another place. */
const lockSize = 256 * 1024

/** Resolves to true if the directory has a data file, so that an open makes no new one. */
export async function hasStore(directory: string): Promise<boolean> {
  const names = await readdir(directory).catch((): string[] => [])
  return names.includes(dataFile)
}

/** Checks all that would make LMDB end the process: no space for the lock file, which it writes
 *  through a map; files that may not be opened; a data file that is not LMDB's, or was cut.
 *  `existing`: a data file that is missing or was never finished is an error, too. REQUIRES: no
 *  process has the store open. Throws ECORRUPT, and what node:fs throws. */
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

/** Reads the first sector of a page; zeros where the file ends before it. */
async function pageHead(file: FileHandle, page: number): Promise<Buffer> {
  const head = Buffer.alloc(sectorSize)
  await file.read(head, 0, sectorSize, page)
  return head
}

function isEmpty(head: Buffer): boolean {
  return head.every((byte) => byte === 0)
}
