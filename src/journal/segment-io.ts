/** The handling of the files of segments: they are made, listed, opened and written over. See rfc/21,
 *  rules 1, 2 and 6.
 *  Invariant: a segment that was made is still there after a crash. */

import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { syncDirectory } from '../base/make-directory.js'
import { hasSystemCode, TailraceError } from '../error.js'
import { markSize } from './record.js'
import {
  encodeHeader,
  headerSize,
  parseHeader,
  parseSegmentName,
  type SegmentHeader,
  segmentName,
} from './segment.js'
import { readFully } from './window.js'

/** The bytes that are read, written over or written again at a time. */
export const chunkSize = 1024 * 1024

/** True where a write to a file that is opened with `writeFlags` is durable when it returns. Other
 *  systems than Linux need a sync of their own, since theirs may leave the bytes in the cache of the
 *  disk. */
export const isSynchronous = process.platform === 'linux'
/** The flags with which a segment is opened for records. */
export const writeFlags = constants.O_WRONLY | (isSynchronous ? constants.O_DSYNC : 0)

/** Makes a segment without a record; it is durable when this resolves. Throws what node:fs throws. */
export async function makeSegment(
  directory: string,
  id: number,
  first: number,
): Promise<{ header: SegmentHeader; file: FileHandle }> {
  const header = { id, first, mark: randomBytes(markSize) }
  const flags = writeFlags | constants.O_CREAT | constants.O_TRUNC
  const file = await open(join(directory, segmentName(id)), flags, 0o600)
  try {
    await writeFully(file, encodeHeader(header), 0)
    if (!isSynchronous) await file.datasync()
    await syncDirectory(directory)
    return { header, file }
  } catch (error) {
    await file.close()
    throw error
  }
}

/** Returns the header of a segment, undefined where it is none, and the size of the file. Throws
 *  what node:fs throws. */
export async function headOf(
  path: string,
): Promise<{ header: SegmentHeader | undefined; size: number }> {
  const file = await open(path, 'r')
  try {
    const { size } = await file.stat()
    return { header: parseHeader(await readFully(file, 0, Math.min(size, headerSize))), size }
  } finally {
    await file.close()
  }
}

/** Returns the ids of the segments in a directory, ascending; none where it is not there. Throws what
 *  node:fs throws. */
export async function segmentsIn(directory: string): Promise<number[]> {
  const names = await readdir(directory).catch((error: unknown): string[] => {
    if (hasSystemCode(error, 'ENOENT')) return []
    throw error
  })
  const ids = names.map(parseSegmentName).filter((id) => id !== undefined)
  return ids.sort((a, b) => a - b)
}

/** Writes zeros over a file, durably. Throws what node:fs throws. */
export async function writeZeros(path: string): Promise<void> {
  const file = await open(path, constants.O_WRONLY)
  try {
    const { size } = await file.stat()
    const zeros = Buffer.alloc(Math.min(chunkSize, size))
    for (let at = 0; at < size; at += chunkSize) {
      await writeFully(file, zeros.subarray(0, Math.min(chunkSize, size - at)), at)
    }
    await file.datasync()
  } finally {
    await file.close()
  }
}

/** Writes all of `bytes` at an offset. Throws what node:fs throws. */
export async function writeFully(file: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, at + done)
    done += bytesWritten
  }
}

/** Returns the ECORRUPT of a segment. `how` says what is wrong with it. */
export function damaged(path: string, how: string): TailraceError {
  return new TailraceError('ECORRUPT', `${path} is damaged (${how}): restore a copy`)
}
