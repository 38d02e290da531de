/** Why a commit failed: a full disk surfaces as an I/O error, so a probe file beside the store tells
 *  the two apart. See rfc/4. */

import { randomFillSync } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'

/** Bytes that a probe writes beyond those of the failed commit: pages that it would have copied. */
const probeSlack = 1024 * 1024
const probeSizeMax = 256 * 1024 * 1024
const chunkSize = 256 * 1024

/** Whether `size` more bytes and a sync fail in `directory` for want of space (or of quota). */
export async function isFull(directory: string, size: number): Promise<boolean> {
  const path = join(directory, `probe-${process.pid}`)
  try {
    await probe(path, Math.min(size + probeSlack, probeSizeMax))
    return false
  } catch (error) {
    return error instanceof Error && 'code' in error && isFullCode(error.code)
  } finally {
    await rm(path, { force: true }).catch(() => {}) // a probe that stays is overwritten by the next
  }
}

async function probe(path: string, size: number): Promise<void> {
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

function isFullCode(code: unknown): boolean {
  return code === 'ENOSPC' || code === 'EDQUOT'
}
