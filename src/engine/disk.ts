/** Tells a full disk from an I/O error after a failed commit, by a probe file beside the store. See
 *  rfc/4, rule 22. */

import { randomFillSync } from 'node:crypto'
import { open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isFullError } from '../error.js'

/** The bytes that a probe writes in addition to those of the failed commit, for the pages that it
 *  would have copied. */
const probeSlack = 1024 * 1024
const probeSizeMax = 256 * 1024 * 1024
const chunkSize = 256 * 1024
/** The size in bytes of the blocks that `stat` counts, whatever the blocks of the file system
 *  are. */
const blockSize = 512

/** Resolves to true if writing `size` more bytes to `directory`, and a sync, fail for want of
 *  space or quota. */
export async function isFull(directory: string, size: number): Promise<boolean> {
  try {
    await probe(directory, size)
    return false
  } catch (error) {
    return isFullError(error)
  }
}

/** Returns the bytes that the files below a directory take on the disk. Undefined where the
 *  directory is gone. */
export async function diskSizeOf(directory: string): Promise<number | undefined> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => undefined)
  if (!entries) return undefined
  let size = 0
  for (const entry of entries) {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) size += (await diskSizeOf(path)) ?? 0
    // A file may have gone since.
    else size += ((await stat(path).catch(() => undefined))?.blocks ?? 0) * blockSize
  }
  return size
}

/** Writes and syncs a file of `size` and `slack` bytes, at most `probeSizeMax`, then removes it.
 *  Throws what node:fs throws. */
export async function probe(directory: string, size: number, slack = probeSlack): Promise<void> {
  const path = join(directory, `probe-${process.pid}`)
  try {
    await write(path, Math.min(size + slack, probeSizeMax))
  } finally {
    await rm(path, { force: true }).catch(() => {}) // the next probe overwrites one that stays
  }
}

async function write(path: string, size: number): Promise<void> {
  const file = await open(path, 'w', 0o600)
  try {
    // Random bytes, which a file system cannot compress to make them fit.
    const chunk = randomFillSync(Buffer.allocUnsafe(chunkSize))
    for (let at = 0; at < size; at += chunkSize) await file.writeFile(chunk)
    await file.sync()
  } finally {
    await file.close()
  }
}
