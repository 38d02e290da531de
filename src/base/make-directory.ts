/** A directory that is there after a crash too: its name stands in the one above it, which says so only
 *  once it is synced. See rfc/4.
 *  Invariant: a directory that this made is synced up to the one that was there before. */

import { mkdir, open } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'

/** Makes `path`, and those above it, where they are missing (0700). Throws what node:fs does. */
export async function makeDirectory(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 })
  if (first === undefined) return
  const top = dirname(resolve(first))
  for (let above = dirname(resolve(path)); ; above = dirname(above)) {
    await syncDirectory(above)
    if (above === top || above === dirname(above)) return
  }
}

/** Names that were added to it, or removed, are so after a crash too. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
