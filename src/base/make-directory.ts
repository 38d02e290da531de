/** Makes directories that are still there after a crash. The name of a directory is durable only
 *  once the directory above it was synced. See rfc/4.
 *  Invariant: before anything is made in a directory, the directory above it was synced by this process.
 *  Who made it may have ended, or failed, before that. */

import { mkdir, open, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { hasSystemCode } from '../error.js'

/** Makes the directory `path`, and the directories above it, where they are missing (mode 0700), and
 *  makes their names durable. Throws what node:fs throws. */
export async function makeDirectory(path: string): Promise<void> {
  const missing: string[] = []
  let there = resolve(path)
  for (; !(await isThere(there)); there = dirname(there)) missing.unshift(there)
  await syncName(there)
  for (const each of missing) {
    await makeOne(each)
    await syncDirectory(dirname(each))
  }
  if (missing.length === 0) await makeOne(path)
}

/** Makes one directory, unless it is there. Not by `recursive`, with which Node tries for ever where nothing
 *  can be made, as in /proc. */
async function makeOne(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 })
  } catch (error) {
    // Another process may have made it at the same time.
    const isThere = hasSystemCode(error, 'EEXIST') && (await stat(path)).isDirectory()
    if (!isThere) throw error
  }
}

/** Makes the name of a file or directory durable. Throws what node:fs throws. */
export async function syncName(path: string): Promise<void> {
  try {
    await syncDirectory(dirname(path))
  } catch (error) {
    // This user may not read the directory above: so it is another one's, and the name was there.
    if (!hasSystemCode(error, 'EACCES') && !hasSystemCode(error, 'EPERM')) throw error
  }
}

/** Makes durable which names the directory holds. Throws what node:fs throws. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (hasSystemCode(error, 'ENOENT') || hasSystemCode(error, 'ENOTDIR')) return false
    throw error
  }
}
