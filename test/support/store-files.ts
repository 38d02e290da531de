/** The files of a store as a test sees them: copies as a crash would leave them, and the bytes that are on
 *  the disk. See rfc/4, rfc/21. */

import { copyFileSync, mkdirSync, readdirSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseSegmentName } from '../../src/journal/segment.js'

/** Files that say who has the store open, or hold nothing that lasts. */
const passing = /^(lock\.mdb|owner\.lock|reserve|probe-\d+)$/

/** Copies an open store as a crash would leave it. One turn of the event loop: no record and no
 *  transaction begins meanwhile. The tables come first, since the journal may be ahead of them. */
export function crashImage(from: string, to: string): void {
  mkdirSync(join(to, 'journal'), { recursive: true })
  copyFileSync(join(from, 'data.mdb'), join(to, 'data.mdb'))
  for (const name of readdirSync(join(from, 'journal'))) {
    copyFileSync(join(from, 'journal', name), join(to, 'journal', name))
  }
}

/** Lists the paths of the segments of a store, in the order of their ids. */
export async function segmentPaths(store: string): Promise<string[]> {
  const names = await readdir(join(store, 'journal'))
  return names
    .filter((name) => parseSegmentName(name) !== undefined)
    .sort()
    .map((name) => join(store, 'journal', name))
}

/** Returns the bytes of all files of a store that hold what it stores, each byte a character. */
export async function storedText(store: string): Promise<string> {
  const entries = await readdir(store, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile() && !passing.test(entry.name))
  const texts = files.map(({ parentPath, name }) => readFile(join(parentPath, name), 'latin1'))
  return (await Promise.all(texts)).join('\n')
}
