/** Makes directories that are still there after a crash. The name of a directory is durable only
 *  once the directory above it was synced. See rfc/4.
 *  Invariant: every directory that holds the name of a new one was synced. */

import { mkdir, open } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'

/** Makes the directory `path`, and the directories above it, where they are missing (mode 0700).
 *  Throws what node:fs throws. */
export async function makeDirectory(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  const top = dirname(resolve(first))
  for (let above = dirname(resolve(path)); ; above = dirname(above)) {
    await syncDirectory(above)
    if (above === top || above === dirname(above)) return
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
