/** Checks a directory before LMDB opens it, and makes the files that are missing, since LMDB ends the
 *  process where it should throw. See rfc/4, rule 23.
 *  Invariant: only a file that held nothing gets other bytes than it has. */

import { type FileHandle, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { TailraceError } from '../error.js'
import { probe } from './disk.js'
import { emptyFile, hasAllPages, isMeta, newestMeta, pageSize } from './lmdb-file.js'

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
const lockSpace = 256 * 1024
/** The size of a new lock file, in bytes: what LMDB needs for its 126 readers, and some more. */
const lockSize = 12 * 1024

/** Resolves to true if the directory has a data file, so that an open makes no new one. */
export async function hasStore(directory: string): Promise<boolean> {
  const names = await readdir(directory).catch((): string[] => [])
  return names.includes(dataFile)
}

/** Makes LMDB's files where they are missing, and checks all that would make LMDB end the process: no
 *  space for the lock file, which it writes through a map; files that cannot be made, or may not be
 *  opened; a data file that is not LMDB's, or was cut.
 *  `existing`: a data file that is missing or was never finished is an error, too. REQUIRES: no
 *  process has the store open. Throws ECORRUPT, and what node:fs throws. */
export async function makeOpenable(
  directory: string,
  options: { readonly existing: boolean },
): Promise<void> {
  await probe(directory, lockSpace, 0)
  const isThere = (await readdir(directory)).includes(dataFile)
  await makeDataFile(join(directory, dataFile), { isThere, existing: options.existing })
  await makeLockFile(join(directory, lockFile))
}

/** The state of a data file, as far as its first pages and its size tell. */
export type DataFileLook = 'missing' | 'unfinished' | 'foreign' | 'cut' | 'whole'

/** Looks at the data file of a store without opening it. Changes nothing. Throws what node:fs
 *  throws. */
export async function lookAtDataFile(directory: string): Promise<DataFileLook> {
  if (!(await hasStore(directory))) return 'missing'
  const file = await open(join(directory, dataFile), 'r')
  try {
    const heads = [await pageHead(file, 0), await pageHead(file, pageSize)] as const
    if (heads.some(isEmpty) && heads.every((head) => isEmpty(head) || isMeta(head))) {
      return 'unfinished'
    }
    const newest = isMeta(heads[0]) ? newestMeta(heads) : undefined
    if (!newest) return 'foreign'
    return (await hasAllPages(file, newest)) ? 'whole' : 'cut'
  } finally {
    await file.close()
  }
}

async function makeDataFile(
  path: string,
  { isThere, existing }: { readonly isThere: boolean; readonly existing: boolean },
): Promise<void> {
  if (!isThere && existing) throw damaged(path, 'is missing')
  const file = await open(path, isThere ? 'r+' : 'wx', 0o600)
  try {
    if (!isThere) return await begin(file)
    const { size } = await file.stat()
    const heads = [await pageHead(file, 0), await pageHead(file, pageSize)] as const
    const unfinished = heads.some(isEmpty) && heads.every((head) => isEmpty(head) || isMeta(head))
    if (unfinished && size <= firstSize) {
      if (existing) throw damaged(path, `has lost what it held (${size} bytes are left)`)
      await file.truncate()
      return await begin(file)
    }
    if (!isMeta(heads[0])) throw damaged(path, 'is no store')
    const newest = newestMeta(heads)
    if (!newest || newest.pageSize !== pageSize) return
    if (!(await hasAllPages(file, newest))) {
      const whole = (newest.lastPage + 1n) * BigInt(pageSize)
      throw damaged(path, `was cut: it has ${size} bytes of ${whole}`)
    }
    // The last write of a meta page may have failed. The system may then show a page that is not on
    // the disk, and say so to nobody. The newest first: the other one is on the disk, or was to be
    // forgotten. So at any moment one of both is whole on the disk, and its pages are.
    const order = newest.transaction % 2n === 0n ? ([0, 1] as const) : ([1, 0] as const)
    for (const page of order) {
      await write(file, heads[page], page * pageSize)
      await file.datasync()
    }
  } finally {
    await file.close()
  }
}

/** Makes the lock file if it is missing or too short. LMDB takes one that is long enough as it is,
 *  and writes all that it reads in it. */
async function makeLockFile(path: string): Promise<void> {
  const file = await open(path, 'a+', 0o600)
  try {
    const { size } = await file.stat()
    if (size < lockSize) await file.appendFile(Buffer.alloc(lockSize - size))
  } finally {
    await file.close()
  }
}

/** Writes the first pages of an empty data file. */
async function begin(file: FileHandle): Promise<void> {
  await write(file, emptyFile(), 0)
  await file.datasync()
}

/** Writes a few bytes at an offset, of which the system takes a part only where the disk is full. */
async function write(file: FileHandle, bytes: Buffer, at: number): Promise<void> {
  const { bytesWritten } = await file.write(bytes, 0, bytes.length, at)
  if (bytesWritten === bytes.length) return
  const message = `no space left for ${dataFile}: make space, then open it again`
  throw new TailraceError('ENOSPC', message)
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
