/** Why a commit failed: a full disk surfaces as an I/O error, so a probe file beside the store tells
 *  the two apart. See rfc/4. */

import { randomFillSync } from 'node:crypto'
import { open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** Bytes that a probe writes beyond those of the failed commit: pages that it would have copied. */
const probeSlack = 1024 * 1024
const probeSizeMax = 256 * 1024 * 1024
const chunkSize = 256 * 1024
/** Of `blocks`, whatever the file system's are. */
const blockSize = 512

/** Whether `size` more bytes and a sync fail in `directory` for want of space (or of quota). */
export async function isFull(directory: string, size: number): Promise<boolean> {
  try {
    await probe(directory, size)
    return false
  } catch (error) {
    return isFullError(error)
  }
}

/** Bytes that the files of a directory take on the disk; undefined where it is gone, or has been moved. */
export async function diskSizeOf(directory: string): Promise<number | undefined> {
  try {
    let size = 0
    for (const name of await readdir(directory)) {
      const { blocks } = await stat(join(directory, name))
      size += blocks * blockSize
    }
    return size
  } catch {
    return undefined
  }
}

/** Writes and syncs a file of `size` bytes and `slack` more, then removes it. Throws what node:fs does. */
export async function probe(directory: string, size: number, slack = probeSlack): Promise<void> {
  const path = join(directory, `probe-${process.pid}`)
  try {
    await write(path, Math.min(size + slack, probeSizeMax))
  } finally {
    await rm(path, { force: true }).catch(() => {}) // one that stays is overwritten by the next
  }
}

export function isFullError(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return code === 'ENOSPC' || code === 'EDQUOT'
}

async function write(path: string, size: number): Promise<void> {
  const file = await open(path, 'w', 0o600)
  try {
    // Random, so that a file system that compresses cannot make it fit.
    const chunk = randomFillSync(Buffer.allocUnsafe(chunkSize))
    for (let at = 0; at < size; at += chunkSize) await file.writeFile(chunk)
    await file.sync()
  } finally {
    await file.close()
  }
}
