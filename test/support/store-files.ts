/** The files of a store as a test sees them: copies as a crash would leave them, and the bytes that are on
 *  the disk. See rfc/4, rfc/21. */

import { copyFileSync, mkdirSync, readdirSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
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

const pageSize = 4_096
const pageHeaderSize = 24
const [flagsAt, pointersSizeAt] = [18, 20]
const branch = 1
const digestSize = 32

/** Lets one entry in the middle of each branch of the index name a page that is not there. */
export async function misdirect(file: string): Promise<void> {
  const content = await readFile(file)
  let count = 0
  for (let page = 2 * pageSize; page < content.length; page += pageSize) {
    if (content.readUInt16LE(page + flagsAt) !== branch) continue
    const entries = content.readUInt16LE(page + pointersSizeAt) / 2
    const pointer = page + pageHeaderSize + 2 * (entries >> 1)
    const entry = page + pageHeaderSize + content.readUInt16LE(pointer)
    if (content.readUInt16LE(entry + 6) > digestSize) continue
    content.writeUIntLE(0xff_ffff, entry, 6)
    count++
  }
  if (count === 0) throw new Error('the index has no branch')
  await writeFile(file, content)
}
